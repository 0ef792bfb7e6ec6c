"""What a replay costs the live system beside it: the latency of live windows, without and with one.

One system, one edge. First windows come fast, so that there is a past; then at a steady rate, and
at the same rate again while one replay after the other runs as a user starts it, with its default
of taking only processor time that nothing else wants.
"""

from __future__ import annotations

import itertools
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import numpy as np

from benchmarks.arrivals import column
from benchmarks.end_to_end import drain, windows_of
from benchmarks.namespaces import remove_topics
from benchmarks.plan import Plan
from benchmarks.plant import Plant, running_plant, sent_of
from benchmarks.result import Row, Table, ratio
from benchmarks.service import Service
from benchmarks.stages import percentile_cells
from benchmarks.steady_edge import Step

#: Windows per second that make a past, and for how long; then the steady rate.
FILL_RATE: Final = 2000.0
FILL_SECONDS: Final = 20.0
RATE: Final = 200.0
SECONDS: Final = 30.0
QUICK_SECONDS: Final = 8.0
_LOOK_SECONDS: Final = 0.1


def replay_beside(plan: Plan) -> Table:
    """Measure the latency of live windows without and with a replay."""
    seconds = QUICK_SECONDS if plan.quick else SECONDS
    steps = [Step(FILL_RATE, FILL_SECONDS), Step(RATE, seconds), Step(RATE, seconds)]
    plan.bar.runs(1)
    with running_plant(plan, "replay-beside") as plant:
        tell = plan.bar.begin(f"{RATE:g} windows/s without and with a replay")
        target = plant.folder / "arrivals.npy"
        target.unlink(missing_ok=True)
        began = time.monotonic()
        whole = sum(step.seconds for step in steps)
        with plant.observer(target) as observer, plant.edge(steps) as edge:
            with _replays(plant) as replays:
                while not edge.ended():
                    observer.check()
                    tell((time.monotonic() - began) / whole)
                    if len(sent_of(edge)) >= len(steps) - 1:
                        next(replays)
                    time.sleep(_LOOK_SECONDS)
                count = next(replays)
            drain(plant)
            observer.terminate()
            sent = sent_of(edge)
        arrivals = np.load(target)
        settings = plant.settings
    remove_topics(settings)
    rows: list[Row] = []
    for name, step in zip(("without", f"{count} replays in turn"), sent[1:], strict=True):
        mine = windows_of(step, arrivals)
        cells = percentile_cells(column(mine, "arrived") - column(mine, "sent"))
        rows.append({"replay": name, "windows/s": step.rate, **cells, "windows": len(mine)})
    for row in rows:
        row["p99 times that without"] = ratio(row["p99 ms"], rows[0]["p99 ms"])
    return Table(
        f"Edge to prediction at {RATE:g} windows/s, without and with a replay on the same machine",
        rows,
        f"The past that is replayed has {FILL_RATE * FILL_SECONDS:,.0f} windows and more.",
    )


@contextmanager
def _replays(plant: Plant) -> Iterator[Iterator[int]]:
    """Run one replay after the other; each step starts the next one if the last has ended.

    Yields:
        The number of replays that were begun, at each step.
    """
    running: list[Service] = []

    def steps() -> Iterator[int]:
        for number in itertools.count():
            if not running or running[-1].ended():
                running.append(_replay(plant, number))
            yield len(running)

    try:
        yield steps()
    finally:
        for service in running:
            service.__exit__(None, None, None)


def _replay(plant: Plant, number: int) -> Service:
    path = plant.folder / f"replayed-{number}.parquet"
    path.unlink(missing_ok=True)
    command = [sys.executable, "-m", "millrace.console", "replay", "--to", str(path)]
    return Service(f"replay-{number}", command, plant.system.environment(), plant.folder)
