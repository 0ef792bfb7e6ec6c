"""The trainer and its archiver on a real broker and a real object store."""

import json
import os
import signal
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from typing import TypeVar

import numpy as np
import numpy.typing as npt
import pytest
from confluent_kafka import Producer

from millrace.contracts.clock import event_time
from millrace.contracts.errors import DataError
from millrace.contracts.events.event import MSGPACK
from millrace.contracts.events.model_event import (
    Activated,
    Approved,
    ModelEvent,
    Ready,
    Registered,
    Rejected,
)
from millrace.contracts.events.outcome import Outcome
from millrace.contracts.events.training import FINISHED, TrainingRequest, TrainingRun
from millrace.contracts.events.window import SensorWindow, encode_window
from millrace.contracts.headers import RawHeaders, cloud_event
from millrace.contracts.ids import derived_id
from millrace.contracts.model_spec import ModelSpec
from millrace.contracts.normaliser import Normaliser
from millrace.contracts.source import Source
from millrace.contracts.topics import (
    MODEL_EVENTS,
    OUTCOMES,
    SENSOR_WINDOWS,
    TRAINING_RUNS,
    Topic,
)
from millrace.contracts.wire.codec import EventReader, encode, headers_of
from millrace.contracts.wire.groups import INFERENCE
from millrace.infra.archive.catalogue import Catalogue
from millrace.infra.archive.objects import ArchivedObject, Record, prefix_of
from millrace.infra.archive.parquet import decode_records, encode_records
from millrace.infra.kafka.clients import admin, consumer, producer
from millrace.infra.kafka.log_reader import read_all
from millrace.infra.kafka.publisher import Publisher
from millrace.infra.kafka.retry import RetryPolicy
from millrace.infra.local.waiting import wait_until
from millrace.infra.object_store import ObjectStore
from millrace.infra.settings import Settings
from millrace.infra.topics.admin import create_topics
from millrace.model_families.artefact import WEIGHTS, fetch
from millrace.registry.decisions import declare
from millrace.trainer.runs.job import DIGEST, JOB, RunResult, store_result
from millrace.trainer.runs.runner import folder_of
from millrace.trainer.scheduling.loop import Trainer
from millrace.trainer.scheduling.triggers import run_id
from millrace.trainer.settings import SOURCE, TrainerSettings

pytestmark = pytest.mark.timeout(240)

T = TypeVar("T")
NOW = datetime(2026, 1, 1, tzinfo=UTC)
SPEC = ModelSpec("pumps", ("flow", "heat"), 60.0, 8, 2, 2)
LIMITS = TrainerSettings(first_outcomes=0, max_age_days=0, archive_seconds=30)


@dataclass
class World:
    """A system without its other services, and what they would have written."""

    settings: Settings
    store: ObjectStore
    client: Producer
    sent: int = 0

    def publish(
        self, topic: Topic, key: str, value: bytes, partition: int, headers: RawHeaders
    ) -> None:
        """Produce one record."""
        self.client.produce(
            self.settings.named(topic.name),
            value,
            key.encode(),
            partition=partition,
            headers=[*headers],
        )

    def windows_with_outcomes(self, count: int) -> None:
        """Send the next windows of two machines that follow their sines, and their truth."""
        rng = np.random.default_rng(7)
        for number in range(self.sent, self.sent + count):
            partition, step = number % 2, number // 2
            asset = f"pump-{partition}"
            at = step * SPEC.stride + np.arange(SPEC.window + SPEC.horizon)
            wave = np.sin(at[:, None] / np.array([5.0, 9.0]) + partition)
            readings = (wave + 0.02 * rng.normal(size=wave.shape)).astype(np.float32)
            window = SensorWindow(
                asset, SPEC.sensors, step * 120_000, 60.0, readings[: SPEC.window]
            )
            headers = cloud_event(window.id, "millrace.window.v1", "/test", MSGPACK, NOW)
            self.publish(SENSOR_WINDOWS, asset, encode_window(window), partition, headers)
            outcome = self._outcome(window, partition, step, readings[SPEC.window :])
            self.publish(
                OUTCOMES, asset, encode(outcome), partition, headers_of(outcome, "/test", NOW)
            )
        self.sent += count
        assert self.client.flush(30) == 0

    def request(self, name: str) -> TrainingRequest:
        """Ask for a training, as a person would."""
        asked = TrainingRequest(name, "pumps", "request", "please", NOW, NOW)
        Publisher(self.settings, SOURCE).send(asked)
        return asked

    def runs(self) -> list[TrainingRun]:
        """Read every record of every run."""
        read = EventReader[TrainingRun](TrainingRun)
        return [read(message.value() or b"") for message in read_all(self.settings, TRAINING_RUNS)]

    def events(self) -> list[ModelEvent]:
        """Read the registry's log, version 0 left out."""
        read = EventReader[ModelEvent](ModelEvent)
        found = [read(message.value() or b"") for message in read_all(self.settings, MODEL_EVENTS)]
        return [event for event in found if event.version]

    @contextmanager
    def process(self, module: str) -> Iterator[subprocess.Popen[bytes]]:
        """Run a service until the block ends, or somebody kills it."""
        started = subprocess.Popen([sys.executable, "-m", module], env=self.environment)
        try:
            yield started
        finally:
            started.terminate()
            try:
                started.wait(15)
            finally:
                started.kill()

    @property
    def environment(self) -> dict[str, str]:
        """What a service reads its settings from."""
        return {
            **os.environ,
            **{
                f"MILLRACE_{name.upper()}": str(value)
                for name, value in self.settings.model_dump(exclude_defaults=True).items()
            },
            "MILLRACE_S3_SECRET_KEY": self.settings.s3_secret_key.get_secret_value(),
            "MILLRACE_TRAINER_FIRST_OUTCOMES": "0",
            "MILLRACE_TRAINER_MAX_AGE_DAYS": "0",
            "MILLRACE_ARCHIVER_MAX_SECONDS": "0.2",
            "MILLRACE_ARCHIVER_MERGE_OBJECTS": "3",
            "MILLRACE_ARCHIVER_MERGE_SECONDS": "0.2",
            "MILLRACE_ARCHIVER_RETIRED_SECONDS": "1",
        }

    @staticmethod
    def _outcome(
        window: SensorWindow, partition: int, offset: int, truth: npt.NDArray[np.float32]
    ) -> Outcome:
        return Outcome(
            id=derived_id("outcome", SENSOR_WINDOWS.name, partition, offset),
            asset=window.asset,
            model="pumps",
            version=0,
            epoch=1,
            window_id=window.id,
            source=Source(SENSOR_WINDOWS.name, partition, offset, 0),
            interval_start=event_time(window.end_ms),
            interval_end=event_time(window.end_ms + 120_000),
            targets=SPEC.sensors,
            truth=[[float(value) for value in truth.mean(axis=0)]],
            error=0.1,
            persistence_error=0.1,
            skill=0.0,
            joined_at=NOW,
        )


@pytest.fixture
def world(settings: Settings) -> World:
    """Topics, a bucket, and one declared model."""
    create_topics(admin(settings), settings)
    store = ObjectStore(settings)
    store.create_bucket()
    publisher = Publisher(settings, SOURCE)
    for event in declare(SPEC, NOW):
        publisher.send(event)
    return World(settings, store, producer(settings))


def until(found: Callable[[], T | None], what: str, seconds: float = 90.0) -> T:
    """Wait until something is there."""
    things: list[T] = []

    def there() -> bool:
        if (thing := found()) is not None:
            things.append(thing)
        return bool(things)

    wait_until(there, what, seconds=seconds)
    return things[0]


def finished(world: World, name: str) -> Callable[[], TrainingRun | None]:
    """Look for the final record of the run of a request."""
    return lambda: next(
        (run for run in world.runs() if run.request.id == name and run.state in FINISHED), None
    )


def test_every_record_is_archived_once_though_the_archiver_is_killed(world: World) -> None:
    """Killed at any moment and started again, it leaves no gap, no overlap and no repetition."""
    sent = 0

    def archived() -> int:
        catalogue = Catalogue(world.store)
        return sum(catalogue.end(SENSOR_WINDOWS.name, partition) for partition in range(4))

    for killed in (True, True, False):
        with world.process("millrace.archiver") as process:
            for _ in range(4):
                for _ in range(500):
                    key = f"asset-{sent}"
                    world.publish(SENSOR_WINDOWS, key, b"%d" % sent, sent % 4, [("n", b"1")])
                    sent += 1
                world.client.flush(30)
            until(lambda: archived() > 0 or None, "the first objects")
            if killed:
                process.send_signal(signal.SIGKILL)
                process.wait()
            else:
                everything = sent
                until(lambda: archived() >= everything or None, "the whole topic")  # noqa: B023
    catalogue = Catalogue(world.store)
    values: Counter[bytes | None] = Counter()
    for partition in range(4):
        expected = 0
        for item in catalogue.refresh(SENSOR_WINDOWS.name, partition):
            assert item.first == expected
            records = list(decode_records(world.store.get(item.key), item.key))
            assert [record.offset for record in records] == list(range(item.first, item.last + 1))
            assert all(record.headers == [("n", b"1")] for record in records)
            values.update(record.value for record in records)
            expected = item.last + 1
    assert values == {b"%d" % number: 1 for number in range(sent)}


def test_an_archive_of_many_objects_is_gone_on_with_at_once(world: World) -> None:
    """No index yet, 200 objects: the archiver finds the end, goes on, and merges them."""
    for number in range(300):
        world.publish(SENSOR_WINDOWS, "a", b"%d" % number, 0, [])
    assert world.client.flush(30) == 0
    for offset in range(200):
        item = ArchivedObject(SENSOR_WINDOWS.name, 0, offset, offset)
        world.store.put(item.key, encode_records([Record(offset, 0, b"a", b"%d" % offset, [])]))
    prefix = prefix_of(SENSOR_WINDOWS.name, 0)

    def few() -> bool | None:
        return len(list(world.store.objects(prefix))) < 20 or None

    with world.process("millrace.archiver"):
        until(
            lambda: Catalogue(world.store).end(SENSOR_WINDOWS.name, 0) == 300 or None,
            "the rest of the topic",
        )
        until(few, "the objects to be merged")
    values = [
        record.value
        for item in Catalogue(world.store).refresh(SENSOR_WINDOWS.name, 0)
        for record in decode_records(world.store.get(item.key), item.key)
    ]
    assert values == [b"%d" % number for number in range(300)]


def test_a_request_becomes_an_approved_version_that_can_be_made_again(world: World) -> None:
    """Windows and outcomes in, a verified artefact out; repeated, it has the same digest."""
    world.windows_with_outcomes(400)
    asked = world.request("please")
    with world.process("millrace.archiver"), world.process("millrace.trainer"):
        run = until(finished(world, "please"), "the run")
    assert (run.state, run.version, run.parent, run.windows) == ("approved", 1, 0, 400)
    assert run.id == run_id(asked)
    assert run.holdout is not None
    assert run.holdout.challenger < run.holdout.persistence
    states = [record.state for record in world.runs() if record.manifest is None]
    assert states[-1] == "started"
    registered, judged = world.events()
    assert isinstance(registered, Registered)
    assert isinstance(judged, Approved)
    assert judged.detail == run.detail
    assert registered.artefact is not None
    assert registered.artefact.digest == run.artefact_digest
    artefact = fetch(world.store, registered.artefact)
    assert artefact.normaliser == registered.normaliser
    assert artefact.optimizer is not None

    command = [sys.executable, "-m", "millrace.trainer.runs.repeat", run.id, "--json"]
    said = subprocess.run(command, env=world.environment, capture_output=True, check=True).stdout
    assert json.loads(said) == {
        "run": run.id,
        "recorded": run.artefact_digest,
        "repeated": run.artefact_digest,
        "same": True,
    }

    key = f"{registered.artefact.prefix}/{WEIGHTS}"
    whole = world.store.get(key)
    world.store.put(key, whole[:-1] + bytes([whole[-1] ^ 1]))
    with pytest.raises(DataError, match="it was altered"):
        fetch(world.store, registered.artefact)


def test_a_killed_trainer_completes_its_run_once(world: World) -> None:
    """Killed while its fit starts, then while it fits: it ends as one run, announced once."""
    world.windows_with_outcomes(200)
    asked = world.request("please")
    run = run_id(asked)
    log = world.settings.home / "trainer" / run / "fit.log"

    def pins() -> int:
        return sum(record.manifest is not None for record in world.runs())

    with world.process("millrace.archiver"):
        for moment in (lambda _: log.exists(), lambda before: pins() > before):
            # What a trainer said that was killed before does not count as this one's word.
            said = pins()
            with world.process("millrace.trainer") as process:
                until(partial(lambda m, n: m(n) or None, moment, said), "the moment to kill")
                process.send_signal(signal.SIGKILL)
                process.wait()
            # Its fit ends with it, though nobody told it to.
            until(lambda: None if fits_of(run) else True, "the end of the orphaned fit", 30)
            assert finished(world, "please")() is None
        with world.process("millrace.trainer"):
            ended = until(finished(world, "please"), "the run")
            # A trainer that would make it again would do so before it answers the next one.
            after = world.request("after")
            until(finished(world, "after"), "the next run")
    assert (ended.id, ended.version) == (run, 1)
    records = [record for record in world.runs() if record.id == run]
    assert {record.id for record in world.runs()} == {run, run_id(after)}
    assert sum(record.state in FINISHED for record in records) == 1
    assert len({record.manifest for record in records if record.manifest}) == 1
    kinds = [type(event) for event in world.events() if event.version == 1]
    assert kinds[0] is Registered
    assert kinds[1:2] in ([Approved], [Rejected])
    assert kinds.count(Registered) == kinds.count(Approved) + kinds.count(Rejected) == 1


def fits_of(run: str) -> list[str]:
    """Find the fit processes of a run."""
    listed = subprocess.run(
        ["ps", "-A", "-o", "pid=,args="], capture_output=True, text=True, check=True
    ).stdout
    return [
        line
        for line in listed.splitlines()
        if "millrace.trainer.runs.fit_process" in line and run in line
    ]


@pytest.mark.parametrize("ours", [True, False])
def test_a_decided_run_is_announced_unless_its_result_is_forged(
    world: World, *, ours: bool
) -> None:
    """One that its own fit decided is announced once; one that the bucket alone vouches for not."""
    world.windows_with_outcomes(2)
    asked = world.request("please")
    run = TrainingRun(run_id(asked), "pumps", asked, "started", NOW, version=1, parent=0)
    Publisher(world.settings, SOURCE).send(run)
    version = Registered(
        id=f"registered-{run.id}",
        model="pumps",
        version=1,
        at=NOW,
        spec=SPEC,
        normaliser=Normaliser.identity(2),
        run_id=run.id,
    )
    verdict = TrainingRun(
        run.id, "pumps", asked, "rejected", NOW, version=1, verdict="rejected", detail="no better"
    )
    digest = store_result(world.store, RunResult(verdict, version))
    folder = folder_of(world.settings.home, run.id)
    folder.mkdir(parents=True)
    (folder / DIGEST).write_text(digest if ours else "0" * 64)
    for _ in range(2):
        trainer = Trainer(world.settings, LIMITS, world.store, RetryPolicy(threading.Event()))
        trainer.catch_up()
        trainer.step(0.1)
        trainer.step(0.1)
        trainer.close()
    assert [type(event) for event in world.events()] == ([Registered, Rejected] if ours else [])
    assert [record.state for record in world.runs()] == ["started", "rejected"][: 1 + ours]
    # Kept until all is announced; emptied, and the run under way again, if it was not ours.
    assert (folder / JOB).exists() != ours
    assert not (folder / DIGEST).exists()


def test_a_run_that_cannot_be_made_leaves_its_reason_and_stops_nothing(world: World) -> None:
    """Too little data is a failed run; the next request is answered all the same."""
    world.windows_with_outcomes(2)
    world.request("too-early")
    with world.process("millrace.archiver"), world.process("millrace.trainer") as process:
        failed = until(finished(world, "too-early"), "the failure")
        assert failed.state == "failed"
        assert failed.detail
        world.windows_with_outcomes(200)
        world.request("again")
        assert until(finished(world, "again"), "the second run").version == 2
        assert process.poll() is None


def test_an_approved_version_is_activated_once_the_live_replica_is_ready(world: World) -> None:
    """The release controller takes live replicas from the consumer group, and is quick."""
    replica = consumer(world.settings, INFERENCE, {"client.id": "inference-0"})
    replica.subscribe([world.settings.named(SENSOR_WINDOWS.name)])

    def assigned() -> bool | None:
        replica.consume(1, 0.1)
        return bool(replica.assignment()) or None

    until(assigned, "a member of the group")
    publisher = Publisher(world.settings, SOURCE)
    with world.process("millrace.trainer"):
        for event in a_version_that_is_ready_on("inference-0"):
            publisher.send(event)

        def activated() -> Activated | None:
            replica.consume(1, 0.0)
            return next((e for e in world.events() if isinstance(e, Activated)), None)

        assert until(activated, "the activation").epoch == 2
    replica.close()


def a_version_that_is_ready_on(replica: str) -> list[ModelEvent]:
    """What the registry says before an activation."""
    return [
        Registered(
            id="r", model="pumps", version=1, at=NOW, spec=SPEC, normaliser=Normaliser.identity(2)
        ),
        Approved(id="a", model="pumps", version=1, at=NOW, detail="better"),
        Ready(id="y", model="pumps", version=1, at=NOW, replica=replica),
    ]
