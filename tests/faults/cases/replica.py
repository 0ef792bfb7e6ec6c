"""One replica of two is set up wrongly: the other one serves as before."""

from __future__ import annotations

import msgspec

from millrace.contracts.events.drift_alert import DriftAlert
from millrace.contracts.events.prediction import Prediction
from millrace.contracts.topics import DRIFT_ALERTS, PREDICTIONS
from millrace.contracts.wire.codec import EventReader
from millrace.infra.kafka.log_reader import read_all
from millrace.infra.local.programs import INFERENCE, TRAINER
from tests.faults.cases.case import case
from tests.faults.cases.trainer import QUICK
from tests.faults.harness.plant import PATIENCE, Plant
from tests.faults.harness.source import SPEC

_SOME = 100
_SECOND = f"{INFERENCE}-1"
#: What the trainer decides about releases is all that is asked of it.
_NO_TRAINING = {**QUICK, "MILLRACE_TRAINER_DRIFT_OUTCOMES": "100000"}


@case("replica/wrong-bucket", own_plant=True)
def a_replica_looks_into_another_bucket(plant: Plant) -> None:
    """Its partitions are answered by its fallback, and told; nobody is rolled back."""
    serving = plant.registry.models[SPEC.name].serving
    assert serving is not None
    plant.start(TRAINER, environment=_NO_TRAINING).wait_ready()
    with plant.source.flowing(rate=100):
        plant.until_predicted(_SOME)
        plant.start(INFERENCE, replica="1", environment={"MILLRACE_S3_BUCKET": "elsewhere"})
        plant.until(
            lambda: _falls_back(plant) or plant.registry.models[SPEC.name].serving != serving,
            "the second replica's fallback to answer",
            2 * PATIENCE,
        )
        plant.fault()
        plant.until_recovered()
        plant.until_predicted(10 * _SOME)
        plant.expect(
            plant.registry.models[SPEC.name].serving == serving,
            "a replica without its bucket has rolled the fleet back",
        )
        plant.expect(
            _answering(plant) == {0, serving.version},
            f"versions {_answering(plant)} answer, not {serving.version} and the fallback",
        )
        plant.expect(
            any(
                alert.version == serving.version and _SECOND in alert.detail
                for alert in _alerts(plant)
            ),
            f"no alert names {_SECOND}",
        )
        plant[_SECOND].rearm({"MILLRACE_S3_BUCKET": plant.settings.s3_bucket})
        plant[_SECOND].stop()
        plant[_SECOND].start()
        plant.await_ready(serving.version, _SECOND)
        plant.until(
            lambda: _answering(plant) == {serving.version},
            f"version {serving.version} to answer everywhere",
        )


def _answering(plant: Plant) -> set[int]:
    """Versions that made the latest predictions."""
    latest = plant.observer.records(PREDICTIONS)[-2 * _SOME :]
    return {msgspec.json.decode(record.value, type=Prediction).version for record in latest}


def _falls_back(plant: Plant) -> bool:
    """Whether a version has answered in the stead of the one that a window is stamped with."""
    latest = plant.latest_prediction()
    return latest.version != latest.stamped_version


def _alerts(plant: Plant) -> list[DriftAlert]:
    """All alerts so far."""
    read = EventReader[DriftAlert](DriftAlert)
    return [read(message.value() or b"") for message in read_all(plant.settings, DRIFT_ALERTS)]
