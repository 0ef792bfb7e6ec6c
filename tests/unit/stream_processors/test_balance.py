"""Every record that the stream processor is handed has one fate, which is counted."""

import asyncio
from collections import Counter
from contextlib import suppress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from millrace.contracts.topics import DEAD_LETTERS, NORMALIZED, SENSOR_WINDOWS
from millrace.infra.progress.balance import READ, SETTLED
from millrace.registry.decisions import declare
from tests.builders import AT, WindowRecord, pump_spec
from tests.unit.stream_processors.in_memory import BrokerInMemory, Killed, Worker
from tests.unit.stream_processors.test_processor import bad, good, with_readings
from tests.unit.stream_processors.test_retries_in_processor import sent_again

FATES = ("normalised", "refused", "repeated")


def counted() -> Counter[str]:
    """What has been counted of partition 0 in this process."""
    found = Counter({"read": int(READ.labels(SENSOR_WINDOWS.name, "0")._value.get())})
    for fate in FATES:
        found[fate] = int(SETTLED.labels(SENSOR_WINDOWS.name, "0", fate)._value.get())
    return found


def every_fate() -> list[WindowRecord]:
    """Good, bad, repeated, changed, and sent again: taken, in vain, bad, and of a bad origin."""
    records = [
        *good(0, 1),
        bad("bad_period", 2),
        with_readings(30, "", 0.0, 3),
        with_readings(30, "", 0.0, 4),  # the same once more
        with_readings(30, "", 0.5, 5),  # and with other readings
        bad("bad_period", 6),
    ]
    fresh, spoilt = good(20)[0], bad("bad_period", 99)
    return [
        *records,
        sent_again(fresh, 7, 2),  # mends 2
        sent_again(fresh, 8, 2),  # in vain
        sent_again(spoilt, 9, 6),  # refused again
        sent_again(fresh, 10, 1),  # 1 was never refused
        sent_again(with_readings(30, "", 0.7, 0), 11, 6),  # changed: the origin is open again
    ]


def test_every_fate_is_counted_once() -> None:
    """Good, bad, repeated, changed and sent again: what was read is what became of it."""
    broker = BrokerInMemory(every_fate(), declare(pump_spec(), AT))
    before = counted()
    worker = Worker(broker)
    asyncio.run(worker.drain())
    found = counted() - before
    assert found["read"] == len(broker.windows)
    assert found["normalised"] == len(broker.values(NORMALIZED))
    assert found["refused"] == len(broker.values(DEAD_LETTERS))
    assert found["repeated"] == len(broker.windows) - found["normalised"] - found["refused"]
    assert found["repeated"] >= 2


@pytest.mark.parametrize("acknowledged", [0, 4, 8])
def test_what_an_earlier_life_settled_is_repeated(acknowledged: int) -> None:
    """After a crash nothing is written twice, and each record that comes again is counted once."""
    broker = BrokerInMemory(every_fate(), declare(pump_spec(), AT))
    asyncio.run(Worker(broker).drain())
    broker.committed["windows"] = acknowledged
    before = counted()
    asyncio.run(Worker(broker).drain())
    found = counted() - before
    assert found == Counter(read=len(broker.windows) - acknowledged, repeated=found["read"])


@settings(max_examples=40, deadline=None)
@given(st.lists(st.integers(0, 12), max_size=4), st.integers(1, 5))
def test_the_counts_balance_after_any_crash(arrive: list[int], size: int) -> None:
    """However a life ends, in the next one read = normalised + refused + repeated."""
    broker = BrokerInMemory(every_fate(), declare(pump_spec(), AT))

    async def crash(writes: int) -> None:
        worker = Worker(broker)
        worker.outputs.arrive = writes
        with suppress(Killed):
            await worker.take_windows(size)
            await worker.take_windows(size)
            await worker.checkpoint()

    for writes in arrive:
        asyncio.run(crash(writes))
    before = counted()
    asyncio.run(Worker(broker).drain())
    found = counted() - before
    assert found["read"] == sum(found[fate] for fate in FATES)
