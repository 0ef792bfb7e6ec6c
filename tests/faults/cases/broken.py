"""Deliberately broken builds, each played through a fault that brings its defect to light."""

from __future__ import annotations

from typing import Final

from millrace.infra.declare import declare_model
from millrace.infra.local.programs import INFERENCE, STREAM_PROCESSOR
from tests.faults.cases.case import case
from tests.faults.harness.broken import LATE_SECONDS
from tests.faults.harness.plant import SOURCE, Plant
from tests.faults.harness.source import SPEC

_SOME: Final = 100
_BETWEEN: Final = "stream-processor.between-output-and-state"


@case("broken/acknowledges-before-state", catches="state")
def acknowledges_before_state(plant: Plant) -> None:
    """It dies between acknowledging a batch and writing the memory that includes it."""
    plant.stop(STREAM_PROCESSOR)
    _broken(plant, STREAM_PROCESSOR, "acknowledge-before-state")
    with plant.source.flowing():
        for _ in range(2):
            plant.until_predicted(_SOME)
            plant.pass_time(0.75 * LATE_SECONDS)
            plant[STREAM_PROCESSOR].kill()
            plant.fault()
            plant.until_recovered()


@case("broken/commits-outside-the-transaction", catches="missing", serving=False)
def commits_outside_the_transaction(plant: Plant) -> None:
    """It dies between committing offsets and committing the predictions."""
    declare_model(plant.settings, SPEC, SOURCE)
    plant.start(STREAM_PROCESSOR)
    _dies_and_recovers(plant, INFERENCE, "commit-outside", "inference.before-commit@4=kill")


@case("broken/forgets-its-outputs", catches="repeated", serving=False)
def forgets_its_outputs(plant: Plant) -> None:
    """It dies between output and state, and writes the output again in its next life."""
    declare_model(plant.settings, SPEC, SOURCE)
    plant.start(INFERENCE)
    _dies_and_recovers(plant, STREAM_PROCESSOR, "forget-outputs", f"{_BETWEEN}@4=kill")


@case("broken/predicts-repetitions", catches="duplicated", serving=False)
def predicts_repetitions(plant: Plant) -> None:
    """The stream processor repeats itself, and inference takes it for something new."""
    declare_model(plant.settings, SPEC, SOURCE)
    plant.source.spoils = False  # dead letters are repeated, too: that is not what is shown here
    _broken(plant, INFERENCE, "predict-repetitions")
    # Both copies of a window would meet in inference's first micro-batch if it had yet to start.
    plant.start(STREAM_PROCESSOR)
    plant.await_first_prediction()
    plant.stop(STREAM_PROCESSOR)
    _dies_and_recovers(plant, STREAM_PROCESSOR, "forget-outputs", f"{_BETWEEN}@4=kill")


def _dies_and_recovers(plant: Plant, name: str, build: str, fault: str) -> None:
    """Start a broken build while windows flow: whenever it dies, it has just written some."""
    with plant.source.flowing(rate=400):
        _broken(plant, name, build, fault)
        plant.await_fault()
        plant.until_recovered()


def _broken(plant: Plant, name: str, build: str, fault: str = "") -> None:
    """Start a broken build of a service."""
    plant.start(
        name,
        module="tests.faults.harness.broken",
        environment={"MILLRACE_BROKEN": build},
        fault=fault,
    )
