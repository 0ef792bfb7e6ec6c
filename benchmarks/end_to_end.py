"""Edge to prediction: how long a window takes at several rates, and which rate is sustained.

One system, one edge, one rate after the other. A rate is sustained if the windows of its last
quarter wait no longer than those of its second one did: the lag does not grow. The first rate
that is not is the last one.
"""

from __future__ import annotations

import itertools
import signal
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np

from benchmarks.append_times import written
from benchmarks.arrivals import Arrivals, column
from benchmarks.namespaces import remove_topics
from benchmarks.plan import Plan
from benchmarks.plant import Plant, running_plant, sent_of
from benchmarks.result import Row, Table
from benchmarks.service import Cost, Service
from benchmarks.stages import Normalised, normalised_at, percentile_cells, stage_rows
from benchmarks.steady_edge import Sent, Step
from benchmarks.turns import Tell
from millrace.contracts.errors import ServerError
from millrace.contracts.topics import NORMALIZED, SENSOR_WINDOWS
from millrace.infra.local.waiting import wait_until

#: Windows per second whose latency is told; 1 is a lonely window.
RATES: Final = (1.0, 100.0, 500.0, 2000.0)
#: Rates that are tried after them, each a quarter more.
LADDER: Final = tuple(2000.0 * 1.25**step for step in range(1, 13))
SECONDS: Final = 20.0
LADDER_SECONDS: Final = 8.0
QUICK_SECONDS: Final = 5.0
QUICK_LADDER: Final = LADDER[:1]
#: First part of a step, which still has the change of rate in it, seconds.
SETTLE_SECONDS: Final = 2.0
#: A backlog of so many seconds ends the ladder.
BACKLOG_SECONDS: Final = 3.0
DRAIN_SECONDS: Final = 10.0
#: How much longer the last windows of a sustained step may wait: a share, and milliseconds.
GROWTH: Final = 1.5
SLACK_MS: Final = 50.0
#: Longest wait of a sustained step's last windows, and least share of its rate that was sent.
LONGEST_MS: Final = 1000.0
SENT_SHARE: Final = 0.97
#: Parts of a step whose windows are compared, as shares of its length.
EARLY: Final = (0.25, 0.5)
LATE: Final = 0.75
#: Share of a step's windows that must have been predicted.
ARRIVED: Final = 0.999
#: How long after a step it is looked at: its last windows have been predicted by then.
JUDGED_SECONDS: Final = 3.0
_LOOK_SECONDS: Final = 0.5
_WRITE_SECONDS: Final = 20.0


@dataclass(frozen=True)
class _Measured:
    """What was seen from outside.

    Attributes:
        sent: Steps, up to the first that was not sustained.
        costs: Costs of the processes at the beginning, and at the end of each step.
        arrivals: All predictions.
        normalised: When each stamped window was written.
    """

    sent: list[Sent]
    costs: list[tuple[float, dict[str, Cost]]]
    arrivals: Arrivals
    normalised: Normalised


def end_to_end(plan: Plan) -> list[Table]:
    """Measure latency and the sustained rate."""
    seconds = QUICK_SECONDS if plan.quick else SECONDS
    ladder_seconds = QUICK_SECONDS if plan.quick else LADDER_SECONDS
    ladder = QUICK_LADDER if plan.quick else LADDER
    steps = [Step(rate, seconds) for rate in RATES]
    steps += [Step(rate, ladder_seconds) for rate in ladder]
    plan.bar.runs(2)
    with running_plant(plan, "end-to-end") as plant:
        tell = plan.bar.begin("windows at " + ", ".join(f"{rate:g}" for rate in RATES) + " ... /s")
        measured = _measure(plant, steps, tell)
        settings = plant.settings
    remove_topics(settings)
    return [_latency(measured), _stages(measured), _cores(measured)]


def _measure(plant: Plant, steps: list[Step], tell: Tell) -> _Measured:
    target = plant.folder / "arrivals.npy"
    target.unlink(missing_ok=True)
    costs: list[tuple[float, dict[str, Cost]]] = []
    whole = sum(step.seconds for step in steps)
    with plant.observer(target) as observer, plant.edge(steps) as edge:
        began = time.monotonic()
        there = written(plant.settings, SENSOR_WINDOWS.name)
        stamped = written(plant.settings, NORMALIZED.name)
        judged = 0
        while not edge.ended():
            observer.check()
            plant.system.supervisor.check()
            tell((time.monotonic() - began) / whole)
            sent = sent_of(edge)
            if len(costs) <= len(sent):
                costs.append((time.monotonic(), plant.costs() | _cost(edge, observer)))
            rate = steps[min(len(sent), len(steps) - 1)].rate
            if there() - stamped() > BACKLOG_SECONDS * rate + rate:
                edge.terminate()
                break
            if len(sent) > judged and time.monotonic() > costs[-1][0] + JUDGED_SECONDS:
                if not sustained(sent[judged], _arrivals_so_far(observer, target)):
                    edge.terminate()
                    break
                judged += 1
            time.sleep(_LOOK_SECONDS)
        drain(plant)
        observer.terminate()
        sent = sent_of(edge)
    if not target.exists():
        raise ServerError(f"the reader of predictions left nothing; its log: {observer.log}")
    arrivals = np.load(target)
    return _Measured(ramp(sent, arrivals), costs, arrivals, normalised_at(plant.settings))


def _arrivals_so_far(observer: Service, target: Path) -> Arrivals:
    """Ask for the predictions that the reader has had by now."""
    target.unlink(missing_ok=True)
    observer.process.send_signal(signal.SIGUSR1)
    wait_until(target.exists, "the reader's file", seconds=_WRITE_SECONDS, meanwhile=observer.check)
    found: Arrivals = np.load(target)
    return found


def _cost(*services: Service) -> dict[str, Cost]:
    found: dict[str, Cost] = {}
    for service in services:
        try:
            found[service.name] = service.cost()
        except ServerError:
            continue  # it has just ended
    return found


def drain(plant: Plant) -> None:
    """Give the last windows time to arrive, but not a hopeless backlog."""
    stamped = written(plant.settings, NORMALIZED.name)
    patience = time.monotonic() + DRAIN_SECONDS
    last = -1
    while time.monotonic() < patience:
        time.sleep(1.0)
        count = stamped()
        if count == last:
            return
        last = count


def windows_of(step: Sent, arrivals: Arrivals) -> Arrivals:
    """Predictions about a step's windows, without those sent while it settled."""
    sent = column(arrivals, "sent")
    settle = SETTLE_SECONDS * 1000 if step.rate > 1 else 0.0
    return arrivals[(sent >= step.began_ms + settle) & (sent <= step.ended_ms)]


def ramp(sent: list[Sent], arrivals: Arrivals) -> list[Sent]:
    """Leave out what came after the first step that was not sustained."""
    kept = list(itertools.takewhile(lambda step: sustained(step, arrivals), sent))
    return sent[: len(kept) + 1]


def sustained(step: Sent, arrivals: Arrivals) -> bool:
    """Whether a step's windows were all predicted, and the last of them as soon as others."""
    if not step.whole:
        return False
    sent = column(arrivals, "sent")
    mine = arrivals[(sent >= step.began_ms) & (sent <= step.ended_ms)]
    length = step.ended_ms - step.began_ms
    # `ended` is noted a moment after the last window was sent.
    if len(mine) < step.windows * ARRIVED - 1 or not length:
        return False
    if step.windows / length * 1000 < SENT_SHARE * step.rate:
        return False
    waits = column(mine, "arrived") - column(mine, "sent")
    part = (column(mine, "sent") - step.began_ms) / length
    early, late = waits[(part >= EARLY[0]) & (part < EARLY[1])], waits[part >= LATE]
    if not len(early) or not len(late):
        return False
    last = float(np.median(late))
    return last <= LONGEST_MS and last <= GROWTH * float(np.median(early)) + SLACK_MS


def _latency(measured: _Measured) -> Table:
    rows: list[Row] = []
    for step in measured.sent:
        mine = windows_of(step, measured.arrivals)
        waits = column(mine, "arrived") - column(mine, "sent")
        own = percentile_cells(column(mine, "latency"))
        rows.append(
            {
                "windows/s": step.rate,
                "sent/s": step.windows / max(step.ended_ms - step.began_ms, 1) * 1000,
                **percentile_cells(waits),
                "own p50 ms": own["p50 ms"],
                "own p99 ms": own["p99 ms"],
                "windows": len(mine),
                "sustained": "yes" if sustained(step, measured.arrivals) else "no",
            }
        )
    kept = [step.rate for step in measured.sent if sustained(step, measured.arrivals)]
    return Table(
        "Edge to prediction, from the edge's hand to a read_committed reader's, one process each",
        rows,
        f"Highest rate that was sustained: {max(kept, default=0.0):,.0f} windows/s. own: the"
        " latency_ms that a prediction itself states, until it was made.",
    )


def _stages(measured: _Measured) -> Table:
    rows: list[Row] = []
    for step in measured.sent[: len(RATES)]:
        mine = windows_of(step, measured.arrivals)
        if len(mine):
            rows += [
                {"windows/s": step.rate, **row} for row in stage_rows(mine, measured.normalised)
            ]
    return Table(
        "Where the time went",
        rows,
        "From the timestamps of a window's records in each topic; both in milliseconds.",
    )


def _cores(measured: _Measured) -> Table:
    rows: list[Row] = []
    for index, step in enumerate(measured.sent):
        if index + 1 >= len(measured.costs):
            break
        (began, before), (ended, after) = measured.costs[index : index + 2]
        row: Row = {"windows/s": step.rate}
        for name in sorted(set(before) | set(after)):
            row[name] = None
            if name in before and name in after:
                used = max(after[name].seconds - before[name].seconds, 0.0)
                row[name] = round(used / (ended - began), 3)
        rows.append(row)
    names = list(dict.fromkeys(name for row in rows for name in row))
    return Table(
        "Processor time of each process, cores",
        [{name: row.get(name) for name in names} for row in rows],
    )
