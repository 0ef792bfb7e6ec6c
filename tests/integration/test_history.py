"""A topic's history: archive and topic together have each record once."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from confluent_kafka import TopicPartition

from millrace.archiver.settings import ArchiverSettings
from millrace.contracts.topics import SENSOR_WINDOWS
from millrace.infra.archive.catalogue import Catalogue
from millrace.infra.archive.gaps import EXPIRED
from millrace.infra.archive.history import TopicHistory
from millrace.infra.kafka.clients import admin, ask_admin, producer
from millrace.infra.local.waiting import wait_until
from millrace.infra.object_store import ObjectStore
from millrace.infra.settings import Settings
from millrace.infra.topics.admin import create_topics
from millrace.infra.topics.epochs import TopicEpochs
from tests.faults.harness.programs import Program
from tests.integration.observing import archiver

LIMITS = ArchiverSettings(max_records=40, max_seconds=0.3, merge_seconds=0.2, merge_objects=3)
SECONDS = 60.0
#: Kafka timestamp of the first record; each of the others is a second later.
FIRST_MS = 1_760_000_000_000


class World:
    """A partition, its archiver, and its history."""

    def __init__(self, settings: Settings, folder: Path) -> None:
        self.settings = settings
        self.sent = 0
        self.store = ObjectStore(settings)
        self.archiver: Program = archiver(settings, LIMITS, folder)
        self._client = producer(settings, {"batch.num.messages": 10})
        self._epochs = TopicEpochs(settings, "/test")
        self.history = TopicHistory(settings, self.store, self._epochs, SENSOR_WINDOWS)

    def send(self, count: int) -> None:
        """Write records, a second apart."""
        for number in range(self.sent, self.sent + count):
            self._client.produce(
                self.settings.named(SENSOR_WINDOWS.name),
                b"%d" % number,
                b"pump-1",
                0,
                timestamp=FIRST_MS + 1000 * number,
                headers=[("n", b"%d" % number)],
            )
        self.sent += count
        assert self._client.flush(30) == 0

    def archive(self) -> None:
        """Archive everything, and end the archiver."""
        self.archiver.start()
        catalogue = Catalogue(self.store)
        wait_until(
            lambda: catalogue.end(SENSOR_WINDOWS.name, 0) >= self.sent,
            "the archive",
            seconds=SECONDS,
            meanwhile=self.archiver.check,
        )
        self.archiver.stop()

    def read(self, first: int = 0, until: int | None = None) -> list[int]:
        """Numbers of the records at some positions."""
        end = self.history.bounds(0).end if until is None else until
        return [int(record.value or b"") for record in self.history.records(0, first, end)]

    def close(self) -> None:
        """End what runs."""
        self.archiver.stop()
        self.history.close()
        self._epochs.close()


@pytest.fixture
def world(settings: Settings, tmp_path: Path) -> Iterator[World]:
    """An empty topic."""
    settings = settings.model_copy(update={"kafka_partitions": 1})
    create_topics(admin(settings), settings)
    ObjectStore(settings).create_bucket()
    made = World(settings, tmp_path)
    yield made
    made.close()


def test_archive_and_topic_have_each_record_once(world: World) -> None:
    """Also records that are in both, and those that are in the topic alone."""
    assert world.history.bounds(0) == (0, 0, 0)
    assert world.read() == []
    world.send(150)
    world.archive()
    world.send(70)
    assert world.history.bounds(0) == (0, 150, 220)
    assert world.read() == list(range(220))
    assert world.read(133, 171) == list(range(133, 171))
    (record,) = world.history.records(0, 160, 161)
    assert (record.key, record.headers) == (b"pump-1", [("n", b"160")])
    assert record.timestamp_ms == FIRST_MS + 160_000


def test_each_record_is_read_once_while_the_archiver_works(world: World) -> None:
    """Objects are written, merged and removed meanwhile."""
    world.archiver.start()
    until = time.monotonic() + 6.0
    rounds = 0
    while time.monotonic() < until:
        world.archiver.check()
        world.send(25)
        assert world.read() == list(range(world.sent))
        rounds += 1
    assert rounds > 3


def test_a_stretch_is_found_by_time(world: World) -> None:
    """It has at least the records of that time, archived or not."""
    world.send(120)
    world.archive()
    world.send(60)

    def span(begin: int | None, end: int | None) -> tuple[int, int]:
        moments = [None if at is None else FIRST_MS + 1000 * at for at in (begin, end)]
        found = world.history.span(0, *moments)
        assert found.records >= (end or world.sent) - (begin or 0)
        return found.first, found.until

    assert span(None, None) == (0, 180)
    first, until = span(50, 55)
    assert first <= 50
    assert until >= 55
    assert span(150, None)[1] == 180
    nothing = world.history.span(0, FIRST_MS - 2000, FIRST_MS - 1000)
    assert nothing.records <= 60  # the topic's records are not looked at


def test_what_expired_is_told(world: World) -> None:
    """Records that the archive has are read; those that nobody has any more are told as lost."""
    world.send(100)
    world.archive()
    world.send(50)
    place = TopicPartition(world.settings.named(SENSOR_WINDOWS.name), 0, 130)
    ask_admin(
        world.settings, lambda a: [one.result(30) for one in a.delete_records([place]).values()]
    )
    assert world.read() == [*range(100), *range(130, 150)]
    (gap,) = world.history.lost[0]
    assert (gap.first, gap.until, gap.why) == (100, 130, EXPIRED)
    assert [(each.first, each.until) for each in world.history.gaps(0)] == [(100, 130)]
