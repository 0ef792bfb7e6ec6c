"""Processes that stop without dying: frozen, or hung."""

from __future__ import annotations

from typing import Final

from millrace.contracts.topics import PREDICTIONS
from millrace.infra.kafka.clients import TRANSACTION_TIMEOUT_MS
from millrace.infra.local.programs import INFERENCE, STREAM_PROCESSOR
from tests.faults.cases.case import case
from tests.faults.harness.plant import Plant

#: Beyond what the group (as long) and the transaction coordinator wait for, seconds.
FROZEN_SECONDS: Final = TRANSACTION_TIMEOUT_MS / 1000 + 10.0
_SOME: Final = 100


@case("stall/inference-frozen", own_plant=True, recovers_within=30.0)
def inference_is_frozen(plant: Plant) -> None:
    """SIGSTOP at a random moment under load; a second replica takes over; then SIGCONT."""
    _second_inference(plant)
    with plant.source.flowing():
        plant.until_predicted(_SOME)
        plant.pass_time(float(plant.rng.uniform(0.0, 1.0)))
        plant[INFERENCE].pause()
        plant.fault()
        plant.pass_time(FROZEN_SECONDS)
        plant.until_predicted(_SOME)  # by the one that took over
        plant[INFERENCE].resume()
        plant.until_predicted(10 * _SOME)
    plant[INFERENCE].wait_ready()


@case("stall/inference-frozen-in-a-transaction", own_plant=True, recovers_within=30.0)
def inference_is_frozen_in_a_transaction(plant: Plant) -> None:
    """SIGSTOP between produce and commit: when it wakes up, the old one's commit is fenced."""
    frozen_at(plant, "inference.before-commit")


@case("stall/inference-frozen-before-output", own_plant=True, recovers_within=30.0)
def inference_is_frozen_before_its_output(plant: Plant) -> None:
    """SIGSTOP after predicting: what it then writes must not be seen."""
    frozen_at(plant, "inference.before-output")


def frozen_at(plant: Plant, point: str) -> None:
    """Freeze inference at a point for longer than anybody waits for it, then thaw it."""
    _second_inference(plant)
    plant.stop(INFERENCE)
    frozen = plant.start(
        INFERENCE,
        module="tests.faults.harness.freezing",
        environment={"MILLRACE_FREEZE": f"{point}@4"},
    )
    with plant.source.flowing():
        plant.until(frozen.is_frozen, f"it to freeze at {point}")
        plant.fault()
        plant.pass_time(FROZEN_SECONDS)
        plant.until_recovered()
        frozen.resume()
        plant.until_predicted(10 * _SOME)
    frozen.wait_ready()


@case("stall/stream-processor-frozen", own_plant=True, recovers_within=30.0)
def stream_processor_is_frozen(plant: Plant) -> None:
    """SIGSTOP at a random moment under load; a second one takes over; then SIGCONT."""
    plant.start(STREAM_PROCESSOR, replica="1").wait_ready()
    with plant.source.flowing():
        plant.until_predicted(_SOME)
        plant.pass_time(float(plant.rng.uniform(0.0, 1.0)))
        plant[STREAM_PROCESSOR].pause()
        plant.fault()
        plant.pass_time(FROZEN_SECONDS)
        plant.until_predicted(_SOME)
        plant[STREAM_PROCESSOR].resume()
        plant.until_predicted(10 * _SOME)


def _second_inference(plant: Plant) -> None:
    """Start a second replica, and wait until both have partitions."""
    plant.start(INFERENCE, replica="1").wait_ready()
    before = plant.observer.count(PREDICTIONS)
    plant.source.send(10 * 8)
    plant.until(
        lambda: plant.observer.count(PREDICTIONS) >= before + 10 * 8, "both replicas at work"
    )


def _hang(program: str, point: str) -> None:
    @case(f"hang@{point}", recovers_within=75.0)
    def play(plant: Plant) -> None:
        """It hangs in its work; a watchdog ends it, and it is started again."""
        with plant.source.flowing(rate=100):
            plant.until_predicted(_SOME)
            plant.arm(program, f"{point}@4=hang")
            plant.await_fault()
            plant.until_recovered()
            plant.until_predicted(_SOME)


_hang(STREAM_PROCESSOR, "stream-processor.before-output")
_hang(INFERENCE, "inference.before-output")
_hang(INFERENCE, "inference.before-commit")
