"""SIGTERM under load: a clean end within seconds, and nothing lost."""

from __future__ import annotations

from millrace.infra.local.programs import INFERENCE, STREAM_PROCESSOR
from tests.faults.cases.case import case
from tests.faults.harness.plant import Plant
from tests.faults.harness.programs import STOP_SECONDS

_SOME = 100


def _add(name: str) -> None:
    @case(f"sigterm/{name}")
    def play(plant: Plant) -> None:
        """End it cleanly in the middle of its work, twice, and start it again."""
        with plant.source.flowing(rate=400):
            for _ in range(2):
                plant.until_predicted(_SOME)
                plant.pass_time(float(plant.rng.uniform(0.0, 0.6)))
                took = plant[name].stop()
                plant.expect(
                    took is not None,
                    f"{name} did not end with status 0 within {STOP_SECONDS:.0f} s of SIGTERM",
                )
                plant[name].start()
                plant.fault()
            plant.until_recovered()


for _name in (STREAM_PROCESSOR, INFERENCE):
    _add(_name)
