"""Archiver and trainer: killed at each of their points, and in the middle of a training."""

from __future__ import annotations

from collections import Counter
from typing import Final

from millrace.console.operations.models import request_training
from millrace.contracts.clock import now
from millrace.contracts.events.model_event import Approved, Registered, Rejected
from millrace.contracts.topics import ARCHIVED, Topic
from millrace.infra.archive.catalogue import Catalogue
from millrace.infra.archive.gaps import read_gaps, removed_until
from millrace.infra.archive.parquet import decode_records
from millrace.infra.local.programs import ARCHIVER, TRAINER
from tests.faults.cases.case import case
from tests.faults.harness.observer import FOLLOWED
from tests.faults.harness.plant import Plant
from tests.faults.harness.source import SPEC
from tests.faults.oracle.evidence import model_events

_SOME: Final = 100
#: What the archive is compared with: the topics of record that the observer reads.
_COMPARED: Final = [topic for topic in ARCHIVED if topic in FOLLOWED]
#: Windows that a training learns from.
_ENOUGH: Final = 1200
_TRAINING_SECONDS: Final = 150.0
QUICK: Final = {
    "MILLRACE_ARCHIVER_MAX_SECONDS": "0.3",
    "MILLRACE_TRAINER_FIRST_OUTCOMES": "0",
    "MILLRACE_TRAINER_MAX_AGE_DAYS": "0",
}


def _kill_archiver(point: str) -> None:
    @case(f"kill@{point}")
    def play(plant: Plant) -> None:
        plant.start(ARCHIVER, fault=f"{point}@6=kill", environment=QUICK)
        with plant.source.flowing():
            plant.await_fault()
            plant.until_recovered()
            plant.until_predicted(4 * _SOME)
        check_archive(plant)


_kill_archiver("archiver.before-output")
_kill_archiver("archiver.between-output-and-commit")


@case("kill/archiver")
def kill_the_archiver_at_random_times(plant: Plant) -> None:
    """SIGKILL three times at random moments."""
    archiver = plant.start(ARCHIVER, environment=QUICK)
    archiver.wait_ready()
    with plant.source.flowing():
        for _ in range(3):
            plant.pass_time(float(plant.rng.uniform(0.2, 2.0)))
            archiver.kill()
            plant.fault()
        plant.until_recovered()
    check_archive(plant)


@case("sigterm/archiver")
def stop_the_archiver_under_load(plant: Plant) -> None:
    """SIGTERM under load: what it had buffered is stored, and it ends cleanly."""
    archiver = plant.start(ARCHIVER, environment=QUICK)
    archiver.wait_ready()
    with plant.source.flowing():
        plant.until_predicted(4 * _SOME)
        plant.expect(archiver.stop() is not None, "the archiver did not end cleanly in time")
        archiver.start()
        plant.until_predicted(_SOME)
    check_archive(plant)


def check_archive(plant: Plant) -> None:
    """Every record that a reader has seen must be in the archive once, or noted as removed."""
    plant.expect(plant.quiet(), "it did not come to rest")
    archiver = plant[ARCHIVER]
    archiver.wait_ready()
    plant.until(
        lambda: all(
            Catalogue(plant.store).end(topic.name, partition)
            >= plant.observer.end(topic, partition)
            for topic in _COMPARED
            for partition in _partitions(plant, topic)
        ),
        "the archive to reach the topics' ends",
        30.0,
    )
    for topic in _COMPARED:
        removed = {
            partition: removed_until(read_gaps(plant.store, topic.name, partition))
            for partition in _partitions(plant, topic)
        }
        seen = plant.observer.records(topic)
        wanted = {(r.partition, r.offset) for r in seen if r.offset >= removed[r.partition]}
        found = archived(plant, topic)
        lost = wanted - found.keys()
        twice = sum(count > 1 for count in found.values())
        plant.expect(not lost, f"{len(lost)} records of {topic.name} are not archived")
        plant.expect(not twice, f"{twice} records of {topic.name} are archived twice")


def archived(plant: Plant, topic: Topic) -> Counter[tuple[int, int]]:
    """Count the archive's records by partition and offset; an object never changes."""
    catalogue = Catalogue(plant.store)
    found: Counter[tuple[int, int]] = Counter()
    for partition in _partitions(plant, topic):
        for item in catalogue.refresh(topic.name, partition):
            if item.key not in plant.archived:
                records = decode_records(plant.store.get(item.key), item.key)
                plant.archived[item.key] = [record.offset for record in records]
            found.update((partition, offset) for offset in plant.archived[item.key])
    return found


def _partitions(plant: Plant, topic: Topic) -> range:
    return range(plant.settings.kafka_partitions if topic.by_asset else 1)


def _kill_trainer(point: str) -> None:
    @case(f"kill@{point}", own_plant=True)
    def play(plant: Plant) -> None:
        _start(plant, fault=f"{point}@1=kill")
        with plant.source.flowing(rate=50):
            _train(plant)
            plant.await_fault(_TRAINING_SECONDS)
            plant.until_recovered()
            _settle(plant)


_kill_trainer("trainer.before-registered")
_kill_trainer("trainer.between-registered-and-verdict")


@case("kill/trainer", own_plant=True)
def kill_the_trainer_in_a_training(plant: Plant) -> None:
    """SIGKILL at a random moment of a training: it is made again, and announced once."""
    _start(plant)
    with plant.source.flowing(rate=50):
        _train(plant)
        plant.pass_time(float(plant.rng.uniform(1.0, 8.0)))
        plant[TRAINER].kill()
        plant.fault()
        plant.until_recovered()
        _settle(plant)


@case("sigterm/trainer", own_plant=True)
def stop_the_trainer_in_a_training(plant: Plant) -> None:
    """SIGTERM in the middle of a training: it ends within seconds; the next life makes it."""
    _start(plant)
    with plant.source.flowing(rate=50):
        _train(plant)
        plant.pass_time(float(plant.rng.uniform(1.0, 5.0)))
        took = plant[TRAINER].stop()
        plant.expect(took is not None, "the trainer did not end cleanly in time")
        plant[TRAINER].start()
        plant.fault()
        plant.until_recovered()
        _settle(plant)


def _start(plant: Plant, fault: str = "") -> None:
    plant.start(ARCHIVER, environment=QUICK)
    plant.start(TRAINER, environment=QUICK, fault=fault).wait_ready()


def _train(plant: Plant) -> None:
    """Send enough to learn from, and ask for a training."""
    plant.source.send(_ENOUGH)
    plant.until_predicted(_SOME)
    request_training(plant.settings, SPEC.name, now(), "a fault test")


def _settle(plant: Plant) -> None:
    """Wait for the verdict, and make sure that it is the only one."""

    def verdicts() -> list[Approved | Rejected]:
        return [
            event
            for event in model_events(plant.observer)
            if isinstance(event, Approved | Rejected) and event.version > 1
        ]

    plant.until(lambda: bool(verdicts()), "the verdict", _TRAINING_SECONDS)
    plant.until_predicted(_SOME)
    events = model_events(plant.observer)
    made = {e.version: e.id for e in events if isinstance(e, Registered) and e.version > 1}
    again = {e.id for e in events if isinstance(e, Registered) and e.version > 1}
    plant.expect(len(again) == len(made) == 1, f"{len(again)} versions were registered, not one")
    plant.expect(len({e.id for e in verdicts()}) == 1, "there is more than one verdict")
