"""The edge itself: a real one replays a recording, and is killed on its way."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import numpy as np

from millrace.contracts.clock import event_time
from millrace.contracts.events.event import MSGPACK
from millrace.contracts.events.window import SensorWindow, encode_window
from millrace.contracts.topics import SENSOR_WINDOWS
from millrace.producers.record import window_headers
from tests.builders import START_MS
from tests.faults.cases.case import case
from tests.faults.harness.plant import Plant
from tests.faults.harness.programs import Program
from tests.faults.harness.source import SPEC, Input

#: Machines and windows of the recording.
_MACHINES: Final = 4
_WINDOWS: Final = 120
#: Windows a second: the replay lasts several seconds.
_RATE: Final = 100
_SOME: Final = 100

_DESCRIPTION: Final = """\
name = "{name}"
files = ["readings.csv"]
time = "time"
asset = "machine"
period_seconds = {period:g}
sensors = [{sensors}]

[task]
kind = "forecast"
window = {window}
horizon = {horizon}
stride = {stride}
target = "{target}"
targets = [{targets}]
"""


def record(folder: Path, seed: int) -> list[SensorWindow]:
    """Write a recording, and say which windows it must yield.

    Args:
        folder: Where the dataset goes.
        seed: Same seed, same readings; also names the machines.
    """
    folder.mkdir(parents=True)
    samples = SPEC.stride * (_WINDOWS - 1) + SPEC.window
    rng = np.random.default_rng([seed, 11])
    names = [f"edge-{seed}-{machine}" for machine in range(_MACHINES)]
    readings = rng.normal([10.0, 200.0, -3.0], 2.0, (_MACHINES, samples, len(SPEC.sensors))).astype(
        np.float32
    )
    lines = [",".join(["time", "machine", *SPEC.sensors])]
    for sample in range(samples):
        moment = event_time(START_MS + sample * SPEC.period_ms).isoformat()
        for machine, name in enumerate(names):
            values = (repr(float(x)) for x in readings[machine, sample])
            lines.append(",".join([moment, name, *values]))
    (folder / "readings.csv").write_text("\n".join(lines) + "\n")
    (folder / "dataset.toml").write_text(
        _DESCRIPTION.format(
            name=SPEC.name,
            period=SPEC.period_seconds,
            sensors=", ".join(f'{{name = "{sensor}"}}' for sensor in SPEC.sensors),
            window=SPEC.window,
            horizon=SPEC.horizon,
            stride=SPEC.stride,
            target=SPEC.target,
            targets=", ".join(f'"{target}"' for target in SPEC.target_names),
        )
    )
    return [
        SensorWindow(
            name,
            SPEC.sensors,
            START_MS + number * SPEC.stride * SPEC.period_ms,
            SPEC.period_seconds,
            readings[machine, number * SPEC.stride :][: SPEC.window],
        )
        for number in range(_WINDOWS)
        for machine, name in enumerate(names)
    ]


def owed_for(window: SensorWindow) -> Input:
    """What the oracle must find for a window of an edge, wherever that sends it."""
    headers = window_headers(window, MSGPACK, "", 0)
    return Input(window, "", window.asset.encode(), encode_window(window), headers, 0)


def replaying_edge(plant: Plant, fault: str = "") -> Program:
    """Start an edge that replays a recording; the oracle must find all of its windows."""
    name = f"edge-{len(plant.inputs)}"
    folder = plant.folder / name
    plant.inputs += [owed_for(window) for window in record(folder, len(plant.inputs))]
    return plant.start(
        name,
        module="millrace.producers",
        arguments=[
            *("replay", str(folder / "dataset.toml"), "--json"),
            *("--rate", str(_RATE), "--spool", str(folder / "spool")),
        ],
        fault=fault,
        ends=True,
        telemetry=False,
    )


def until_sent(plant: Plant, edge: Program) -> None:
    """Wait until an edge has sent everything."""
    plant.until(lambda: edge.finished, "the edge to end well")
    wanted = len(plant.source.sent) + len(plant.inputs)
    plant.until(lambda: plant.observer.count(SENSOR_WINDOWS) >= wanted, "all windows of the edge")


def _kill(point: str) -> None:
    @case(f"kill@{point}")
    def play(plant: Plant) -> None:
        edge = replaying_edge(plant, f"{point}@4=kill")
        plant.await_fault()
        plant.until_recovered()
        until_sent(plant, edge)


_kill("edge.before-output")
_kill("edge.before-confirmation")


@case("kill/edge")
def kill_the_edge_at_random_times(plant: Plant) -> None:
    """SIGKILL three times at random moments; it goes on where it was."""
    edge = replaying_edge(plant)
    plant.until_predicted(_SOME)
    for _ in range(3):
        plant.pass_time(float(plant.rng.uniform(0.1, 2.0)))
        if not edge.finished:
            edge.kill()
            plant.fault()
    until_sent(plant, edge)


@case("sigterm/edge")
def stop_the_edge_under_load(plant: Plant) -> None:
    """SIGTERM in the middle of a replay ends it within seconds; the next run goes on."""
    edge = replaying_edge(plant)
    plant.until_predicted(_SOME)
    edge.stop()
    ended = edge.lives[-1].status
    plant.expect(ended is not None and ended >= 0, "the edge did not heed SIGTERM")
    edge.start()
    plant.fault()
    plant.until_recovered()
    until_sent(plant, edge)
