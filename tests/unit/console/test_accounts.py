"""What services say about their records becomes lines, and words where something is wrong."""

import time

import pytest
from prometheus_client import CollectorRegistry, Counter, generate_latest

from millrace.console.operations.accounts import (
    BalanceLine,
    LossLine,
    RestartLine,
    accounts,
    concerns,
    restarts,
    unsettled,
)

MIDNIGHT = time.mktime((2026, 11, 30, 0, 0, 0, 0, 0, -1))


def line(read: int, **fates: int) -> BalanceLine:
    """A balance of inference."""
    return BalanceLine("inference", "t", 0, read, fates, read - sum(fates.values()))


def test_metrics_become_lines() -> None:
    """By partition, with what waits; losses by topic and group."""
    registry = CollectorRegistry()
    read = Counter("millrace_records_read_total", "x", ["topic", "partition"], registry=registry)
    settled = Counter(
        "millrace_records_settled_total", "x", ["topic", "partition", "fate"], registry=registry
    )
    lost = Counter("millrace_records_lost_total", "x", ["topic", "group"], registry=registry)
    read.labels("t", "10").inc(7)
    read.labels("t", "9").inc(5)
    settled.labels("t", "9", "predicted").inc(4)
    settled.labels("t", "9", "refused").inc(1)
    lost.labels("t", "g").inc(200)
    balances, losses = accounts("inference", generate_latest(registry).decode())
    assert balances == [
        BalanceLine("inference", "t", 9, 5, {"predicted": 4, "refused": 1}, 0),
        BalanceLine("inference", "t", 10, 7, {}, 7),
    ]
    assert losses == [LossLine("inference", "t", "g", 200)]
    assert unsettled(balances)
    assert not unsettled(balances[:1])


def test_restarts_are_counted_since_the_process_manager_runs() -> None:
    """The first start of a program is none, nor is anything of an earlier run."""
    log = [
        "2026-11-30 00:00:01,000 INFO spawned: 'inference' with pid 1",
        "2026-11-30 00:00:02,000 INFO supervisord started with pid 7",
        "2026-11-30 00:00:03,000 INFO spawned: 'inference' with pid 8",
        "2026-11-30 00:00:03,000 INFO spawned: 'trainer' with pid 9",
        "2026-11-30 00:10:00,000 INFO spawned: 'inference' with pid 10",
        "2026-11-30 00:40:00,000 INFO spawned: 'inference' with pid 11",
        "2026-11-30 00:40:01,000 INFO success: inference entered RUNNING state",
    ]
    assert restarts(log, MIDNIGHT + 3000) == [
        RestartLine("inference", 2, 1),
        RestartLine("trainer", 0, 0),
    ]


@pytest.mark.parametrize(
    ("before", "after", "wrong"),
    [
        (line(9, predicted=9), line(9, predicted=9), False),
        (line(9, predicted=5), line(20, predicted=15), False),
        (line(9, predicted=5), line(9, predicted=7), False),
        (line(9, predicted=5), line(9, predicted=5), True),
        (line(9, predicted=9), line(9, predicted=9, repeated=1), True),
    ],
)
def test_records_without_a_fate_are_a_concern_once_nothing_moves(
    before: BalanceLine, after: BalanceLine, *, wrong: bool
) -> None:
    """What waits may be on its way; a record with two fates is wrong at once."""
    found = concerns([before], [after], [], [])
    assert bool(found) == wrong
    assert all("out of balance on t 0" in one for one in found)


def test_losses_and_restarts_are_concerns() -> None:
    """Each in a sentence; two restarts are none."""
    found = concerns(
        [],
        [],
        [LossLine("inference", "t", "g", 3)],
        [RestartLine("a", 9, 2), RestartLine("b", 4, 3)],
    )
    assert [one.split(" ")[0] for one in found] == ["3", "b"]
