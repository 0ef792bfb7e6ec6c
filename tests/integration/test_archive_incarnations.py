"""The archive on a real broker whose topics are created anew, or lose their end."""

import signal
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from millrace.archiver.archiving import Archiver
from millrace.archiver.settings import ArchiverSettings
from millrace.contracts.events.topic_epoch import PER_INCARNATION, parts_of
from millrace.contracts.topics import ARCHIVED, SENSOR_WINDOWS
from millrace.contracts.wire.groups import ARCHIVER
from millrace.infra import embedded
from millrace.infra.archive.catalogue import Catalogue
from millrace.infra.archive.objects import Record
from millrace.infra.archive.parquet import decode_records
from millrace.infra.kafka.clients import admin, producer
from millrace.infra.local.waiting import wait_until
from millrace.infra.object_store import ObjectStore
from millrace.infra.progress.committed import committed_offsets
from millrace.infra.settings import Settings
from millrace.infra.topics.admin import create_topics
from tests.integration.observing import archiver
from tests.integration.own_broker import Broker
from tests.log_files import cut_log
from tests.places import settings_at
from tests.topics import create_anew

pytestmark = pytest.mark.timeout(240)
LIMITS = ArchiverSettings(max_records=70, max_seconds=0.3)
SECONDS = 60.0


class World:
    """A broker of the test's own, an object store, and records that are told apart by their value.

    The archiver is a process of its own: librdkafka may end the one whose topic is created anew.

    Attributes:
        sent: How many were sent.
    """

    def __init__(self, broker: Broker, settings: Settings, folder: Path) -> None:
        self.broker = broker
        self.settings = settings
        self.store = ObjectStore(settings)
        self.sent = 0
        self.archiver = archiver(settings, LIMITS, folder)

    def send(self, count: int) -> None:
        """Write records to the first partition, in batches of 50 at most."""
        client = producer(self.settings, {"batch.num.messages": 50, "linger.ms": 50})
        for _ in range(count):
            client.produce(self.settings.named(SENSOR_WINDOWS.name), b"%d" % self.sent, partition=0)
            self.sent += 1
        assert client.flush(30) == 0

    def archive(self, values: int) -> list[Record]:
        """Have the archiver work until so many records are archived; they are all that was sent."""
        self.archiver.start()
        wait_until(
            lambda: len(self.archived()) >= values,
            f"{values} records",
            seconds=SECONDS,
            meanwhile=self.archiver.check,
        )
        found = self.archived()
        assert Counter(r.value for r in found) == {b"%d" % n: 1 for n in range(self.sent)}
        return found

    def leave(self) -> None:
        """End the archiver, and give it the time to commit."""
        self.archiver.stop()

    def archived(self) -> list[Record]:
        """Read the first partition's archive."""
        return [
            record
            for item in Catalogue(self.store).refresh(SENSOR_WINDOWS.name, 0)
            for record in decode_records(self.store.get(item.key), item.key)
        ]


@pytest.fixture
def world(tmp_path: Path, servers: embedded.Endpoints, namespace: str) -> Iterator[World]:
    """Topics and a bucket."""
    broker = Broker(tmp_path)
    settings = settings_at(
        servers,
        tmp_path / "var",
        namespace,
        kafka_bootstrap_servers=f"127.0.0.1:{broker.port}",
        kafka_partitions=2,
    )
    made = World(broker, settings, tmp_path)
    try:
        broker.start()
        create_topics(admin(settings), settings, ARCHIVED)
        made.store.create_bucket()
        yield made
    finally:
        made.leave()
        broker.kill()


@pytest.mark.parametrize(("running", "after"), [(True, 40), (False, 300)])
def test_a_topic_that_was_created_anew_is_archived_beside_the_old_one(
    world: World, *, running: bool, after: int
) -> None:
    """Every record of both, whether the archiver runs meanwhile, and however many there are."""
    world.send(100)
    world.archive(100)
    if not running:
        world.leave()
    create_anew(world.settings, SENSOR_WINDOWS)
    world.send(after)
    found = world.archive(100 + after)
    assert [parts_of(record.offset) for record in found] == [
        *((0, offset) for offset in range(100)),
        *((1, offset) for offset in range(after)),
    ]
    world.leave()
    committed = committed_offsets(world.settings, ARCHIVER, {SENSOR_WINDOWS: [0]})[SENSOR_WINDOWS]
    assert committed[0].offset == after
    world.send(50)
    assert world.archive(150 + after)[-1].offset == PER_INCARNATION + after + 49


def test_an_incarnation_is_begun_in_the_group_before_it_has_an_object(
    world: World, tmp_path: Path
) -> None:
    """So an offset that was committed before it is never taken for one of it."""
    world.send(200)
    world.archive(200)
    world.leave()
    world.broker.kill(signal.SIGTERM)
    name = world.settings.named(SENSOR_WINDOWS.name)
    left = cut_log(tmp_path / "kafka" / "data", name, 0, 120)
    world.broker.start()

    def committed() -> int:
        places = committed_offsets(world.settings, ARCHIVER, {SENSOR_WINDOWS: [0]})
        return places[SENSOR_WINDOWS][0].offset

    assert committed() == 200
    inside = Archiver(world.settings, LIMITS, world.store)

    def work() -> None:
        inside.step(time.monotonic())

    try:
        wait_until(lambda: committed() == left, "the beginning", seconds=SECONDS, meanwhile=work)
    finally:
        inside.close()


@pytest.mark.parametrize(("running", "grown"), [(True, 30), (False, 400)])
def test_a_log_that_lost_its_end_is_archived_with_what_was_lost(
    world: World, tmp_path: Path, *, running: bool, grown: int
) -> None:
    """What was archived before it was lost stays, and what came after is archived beside it."""
    world.send(200)
    world.archive(200)
    if not running:
        world.leave()
    world.broker.kill(signal.SIGTERM)
    name = world.settings.named(SENSOR_WINDOWS.name)
    left = cut_log(tmp_path / "kafka" / "data", name, 0, 120)
    world.broker.start()
    world.send(grown)
    found = world.archive(200 + grown)
    assert [record.offset for record in found] == [
        *range(200),
        *(PER_INCARNATION + left + number for number in range(grown)),
    ]
