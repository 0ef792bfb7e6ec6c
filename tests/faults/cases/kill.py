"""SIGKILL at each named point of the services that serve."""

from __future__ import annotations

from typing import Final

from millrace.infra.local.programs import INFERENCE, STREAM_PROCESSOR
from millrace.infra.process.fault_points import POINTS
from tests.faults.cases.case import case
from tests.faults.harness.plant import Plant

#: How often a point is reached before the fault: in the middle of the work, not at its start.
_TIMES: Final = 4
#: Predictions before and after a fault.
_SOME: Final = 100


def kill_at(plant: Plant, program: str, point: str, times: int = _TIMES) -> None:
    """Kill a program at a point while windows flow and a version is swapped in."""
    version = plant.make_version()
    plant.await_ready(version)
    with plant.source.flowing():
        plant.until_predicted(_SOME)
        plant.arm(program, f"{point}@{times}=kill")
        epoch = plant.activate(version)
        if program != STREAM_PROCESSOR:
            plant.await_fences(epoch)
        plant.await_fault()
        plant.until_recovered()
        if program == STREAM_PROCESSOR:
            plant.await_fences(epoch)
        plant.until_predicted(_SOME)


def _add(program: str, point: str) -> None:
    @case(f"kill@{point}")
    def play(plant: Plant) -> None:
        kill_at(plant, program, point)


for _program in (STREAM_PROCESSOR, INFERENCE):
    for _point in sorted(point for point in POINTS if point.startswith(f"{_program}.")):
        _add(_program, _point)
