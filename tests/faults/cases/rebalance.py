"""Rebalance storm: replicas join and leave all the time, and windows flow on."""

from __future__ import annotations

from typing import Final

from millrace.infra.local.programs import INFERENCE, STREAM_PROCESSOR
from tests.faults.cases.case import case
from tests.faults.harness.plant import Plant

#: Time between two changes, seconds.
EVERY_SECONDS: Final = 5.0
#: How often somebody joins or leaves.
_CHANGES: Final = 50


@case("rebalance/storm", own_plant=True, long=True)
def storm(plant: Plant) -> None:
    """Second replicas of both services join and leave in turn, cleanly or killed."""
    plant.start(STREAM_PROCESSOR, replica="1").stop()
    plant.start(INFERENCE, replica="1").stop()
    second = [plant[f"{STREAM_PROCESSOR}-1"], plant[f"{INFERENCE}-1"]]
    with plant.source.flowing(rate=100):
        for number in range(_CHANGES):
            plant.pass_time(EVERY_SECONDS)
            program = second[number % 2]
            if program.pid is None:
                program.start()
            elif plant.rng.random() < 0.5:
                program.kill()  # it comes back at once, and leaves the next time
            else:
                program.stop()
        for program in second:
            program.stop()
        plant.fault()
        plant.until_recovered()
