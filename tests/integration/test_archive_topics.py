"""Every topic of record on a real broker and object store: archived, verified, exported, kept."""

from __future__ import annotations

import datetime as dt
import io
import json
import secrets
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pandas as pd
import pyarrow.parquet as pq
import pytest
from confluent_kafka import TopicPartition
from confluent_kafka.admin import AlterConfigOpType, ConfigEntry, ConfigResource, ResourceType
from pyarrow.fs import S3FileSystem

from millrace.archiver.settings import ArchiverSettings
from millrace.console.operations.archive.listing import archive_lines
from millrace.console.operations.archive.verify import Verified, verify_archive
from millrace.console.operations.lags import lag_lines
from millrace.contracts.events.ledger import LedgerEntry
from millrace.contracts.topics import ARCHIVED, MENDED, OUTCOMES, SERVING_LEDGER, Topic
from millrace.contracts.wire.codec import encode
from millrace.contracts.wire.groups import ARCHIVER
from millrace.infra import embedded
from millrace.infra.archive.catalogue import Catalogue
from millrace.infra.archive.gaps import RETENTION, Gap, read_gaps
from millrace.infra.archive.index import index_key
from millrace.infra.archive.objects import ArchivedObject, Record, prefix_of
from millrace.infra.archive.parquet import (
    START,
    TOPIC,
    decode_records,
    encode_records,
    merge_objects,
    metadata_of,
)
from millrace.infra.kafka.clients import (
    admin,
    ask_admin,
    partitions_of,
    producer,
    reader,
    watermarks,
)
from millrace.infra.kafka.log_reader import read_all
from millrace.infra.local.waiting import wait_until
from millrace.infra.object_store import ObjectStore
from millrace.infra.settings import Settings
from millrace.infra.topics.admin import create_topics
from tests.faults.harness.programs import Program
from tests.integration.observing import archiver, environment
from tests.places import PROJECT, settings_at

pytestmark = pytest.mark.timeout(240)
SECONDS = 90.0
#: Each record is an object of its own.
SMALL = ArchiverSettings(max_records=1, max_seconds=0.3, merge_seconds=3600)
RECORDS = 5


@contextmanager
def archiving(
    settings: Settings, folder: Path, limits: ArchiverSettings = SMALL
) -> Iterator[Program]:
    """Have an archiver work, as a program of its own."""
    program = archiver(settings, limits, folder)
    program.start()
    try:
        yield program
    finally:
        program.stop()


def send(settings: Settings, topic: Topic, *values: bytes, key: bytes = b"k") -> None:
    """Write records to the first partition."""
    client = producer(settings)
    for value in values:
        client.produce(settings.named(topic.name), value, key, partition=0)
    assert client.flush(30) == 0


def is_archived(settings: Settings, store: ObjectStore, topic: Topic) -> bool:
    """Whether a topic is archived up to its end; it ends in a record."""
    client = reader(settings)
    try:
        name = settings.named(topic.name)
        ends = {
            partition: watermarks(client, TopicPartition(name, partition))[1]
            for partition in partitions_of(client, name)
        }
    finally:
        client.close()
    catalogue = Catalogue(store)
    return all(catalogue.end(topic.name, partition) >= end for partition, end in ends.items())


def archived(store: ObjectStore, topic: Topic) -> list[Record]:
    """Read the first partition's archive."""
    return [
        record
        for item in Catalogue(store).refresh(topic.name, 0)
        for record in decode_records(store.get(item.key), item.key)
    ]


@pytest.fixture
def store(settings: Settings) -> ObjectStore:
    """Topics and a bucket."""
    create_topics(admin(settings), settings)
    store = ObjectStore(settings)
    store.create_bucket()
    return store


class World:
    """An archive of all topics, which tests share.

    Attributes:
        settings: Its namespace.
        store: Its store.
        objects: Its objects, by key, as the archiver has left them.
    """

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.store = ObjectStore(settings)
        self.objects = {one.key: self.store.get(one.key) for one in self.store.objects("archive/")}

    def restore(self) -> None:
        """Put everything back."""
        self.store.remove([one.key for one in self.store.objects("archive/")])
        for key, data in self.objects.items():
            self.store.put(key, data)


@pytest.fixture(scope="module")
def built(servers: embedded.Endpoints, tmp_path_factory: pytest.TempPathFactory) -> World:
    """Some records of every topic, archived one by one."""
    folder = tmp_path_factory.mktemp("archive")
    settings = settings_at(
        servers, folder / "var", f"test-{secrets.token_hex(4)}", kafka_partitions=1
    )
    create_topics(admin(settings), settings)
    store = ObjectStore(settings)
    store.create_bucket()
    for topic in ARCHIVED:
        send(settings, topic, *(b"%d" % number for number in range(RECORDS)))
    with archiving(settings, folder) as program:
        wait_until(
            lambda: all(is_archived(settings, store, topic) for topic in ARCHIVED),
            "all topics to be archived",
            seconds=SECONDS,
            meanwhile=program.check,
        )
    return World(settings)


@pytest.fixture
def world(built: World) -> World:
    """The same archive, undamaged."""
    built.restore()
    return built


def verified(world: World) -> dict[str, Verified]:
    """Verify all of it, in comparison with the broker."""
    return {found.topic: found for found in verify_archive(world.store, world.settings)}


def test_every_topic_is_archived_and_verified(world: World) -> None:
    """With the records, the date of today, and the name of the topic in each file."""
    found = verified(world)
    assert set(found) == {topic.name for topic in ARCHIVED}
    assert [one.problems for one in found.values()] == [()] * len(ARCHIVED)
    today = dt.datetime.now(dt.UTC).date()
    for topic in ARCHIVED:
        values = [record.value for record in archived(world.store, topic)]
        assert values[:RECORDS] == [b"%d" % number for number in range(RECORDS)]
        for item in Catalogue(world.store).refresh(topic.name, 0):
            assert item.date is not None
            assert today - dt.timedelta(1) <= item.date <= today
            assert metadata_of(world.store.get(item.key), item.key)[TOPIC] == topic.name.encode()


def test_the_lag_of_every_topic_is_known_and_nothing(world: World) -> None:
    """`topic.epochs`, to which the archiver itself writes, is no exception."""
    lags = {
        line.topic: line.records for line in lag_lines(world.settings) if line.group == ARCHIVER
    }
    assert lags == dict.fromkeys((topic.name for topic in ARCHIVED), 0)


def items(world: World, topic: Topic) -> list[ArchivedObject]:
    """A topic's objects, by position."""
    return Catalogue(world.store, whole=True).refresh(topic.name, 0)


def _delete(world: World, topic: Topic) -> None:
    world.store.remove([items(world, topic)[1].key])


def _truncate(world: World, topic: Topic) -> None:
    key = items(world, topic)[1].key
    world.store.put(key, world.objects[key][:-40])


def _double(world: World, topic: Topic) -> None:
    first, second = items(world, topic)[1:3]
    data = merge_objects([(one.key, world.objects[one.key]) for one in (first, second)])
    world.store.put(first._replace(last=second.last).key, data)


def _flip(world: World, topic: Topic) -> None:
    key = items(world, topic)[1].key
    data = bytearray(world.objects[key])
    known = world.store._client.stat_object(world.store.bucket, key).metadata or {}
    data[len(data) // 2] ^= 1
    world.store._client.put_object(
        world.store.bucket,
        key,
        io.BytesIO(bytes(data)),
        len(data),
        metadata={"sha256": str(known["x-amz-meta-sha256"])},
    )


@pytest.mark.parametrize(
    ("spoil", "kind"),
    [(_delete, "missing"), (_truncate, "damaged"), (_double, "doubled"), (_flip, "altered")],
)
def test_damage_is_found_in_every_topic(
    world: World, spoil: Callable[[World, Topic], None], kind: str
) -> None:
    """The second record of each is gone, cut, there twice, or another one."""
    for topic in ARCHIVED:
        spoil(world, topic)
    for name, found in verified(world).items():
        kinds = {problem.kind for problem in found.problems}
        assert kind in kinds, name
        assert all(1 <= problem.first <= 2 for problem in found.problems), (name, found.problems)


def test_what_the_broker_has_dropped_is_not_missing(
    settings: Settings, store: ObjectStore, tmp_path: Path
) -> None:
    """Its retention passes before a record is archived, or after: the archive has what it had."""
    name = settings.named(OUTCOMES.name)

    def expire(until: int) -> None:
        client = admin(settings)
        place = TopicPartition(name, 0, until)
        client.delete_records([place])[place].result(30)

    def verify() -> Verified:
        return next(
            found
            for found in verify_archive(store, settings, OUTCOMES.name)
            if found.partition == 0
        )

    def archive(until: int) -> None:
        with archiving(settings, tmp_path) as program:
            wait_until(
                lambda: Catalogue(store).end(OUTCOMES.name, 0) == until,
                f"position {until}",
                seconds=SECONDS,
                meanwhile=program.check,
            )

    send(settings, OUTCOMES, b"0", b"1", b"2")
    expire(1)
    archive(3)
    expire(3)
    assert (verify().problems, verify().records) == ((), 2)
    send(settings, OUTCOMES, b"3", b"4")
    expire(4)
    archive(5)
    assert [record.value for record in archived(store, OUTCOMES)] == [b"1", b"2", b"4"]
    found = verify()
    assert found.problems == ()
    assert [(gap.first, gap.until) for gap in found.gaps] == [(0, 1), (3, 4)]


def test_a_compacted_topic_has_holes_and_no_gaps(
    settings: Settings, store: ObjectStore, tmp_path: Path
) -> None:
    """Records that were compacted away before they were read, or after, are not missing."""
    resource = ConfigResource(ResourceType.TOPIC, settings.named(MENDED.name))
    for name, value in (
        ("min.cleanable.dirty.ratio", "0.001"),
        ("segment.ms", "1000"),
        ("max.compaction.lag.ms", "1"),
    ):
        resource.add_incremental_config(
            ConfigEntry(name, value, incremental_operation=AlterConfigOpType.SET)
        )
    ask_admin(
        settings,
        lambda a: [one.result(30) for one in a.incremental_alter_configs([resource]).values()],
    )
    stamps = iter(range(int(time.time() * 1000) - 900_000, 2**62, 2_000))

    def write(count: int) -> None:
        """Write one key again and again, each time into another segment."""
        client = producer(settings)
        for number in range(count):
            client.produce(
                settings.named(MENDED.name), b"%d" % number, b"k", 0, timestamp=next(stamps)
            )
            assert client.flush(30) == 0

    def there() -> list[int]:
        found = read_all(settings, MENDED)
        return [message.offset() or 0 for message in found if message.partition() == 0]

    def archive() -> list[int]:
        wanted = there()[-1] + 1
        with archiving(settings, tmp_path) as program:
            wait_until(
                lambda: Catalogue(store).end(MENDED.name, 0) == wanted,
                f"position {wanted}",
                seconds=SECONDS,
                meanwhile=program.check,
            )
        return [record.offset for record in archived(store, MENDED)]

    write(10)
    wait_until(lambda: len(there()) < 10, "the compaction", seconds=SECONDS)
    seen = there()
    first = archive()
    assert 0 not in first
    assert set(there()) <= set(first) <= set(seen)
    write(10)
    wait_until(lambda: 12 not in there(), "the next compaction", seconds=SECONDS)
    second = archive()
    assert second[: len(first)] == first
    assert 19 in second
    problems = [found.problems for found in verify_archive(store, settings, MENDED.name)]
    assert problems == [()] * len(problems)
    gaps = [read_gaps(store, MENDED.name, partition) for partition in range(4)]
    assert gaps == [(), (), (), ()]


def test_the_retention_removes_old_days_of_a_running_archive(
    settings: Settings, store: ObjectStore, tmp_path: Path
) -> None:
    """The archiver goes on behind them, and what was removed is told from what was lost."""
    today = dt.datetime.now(dt.UTC).date()
    for first in range(0, 40, 10):
        records = [Record(n, 1, b"k", b"%d" % n, []) for n in range(first, first + 10)]
        date = today - dt.timedelta(40 - first)
        item = ArchivedObject(OUTCOMES.name, 0, first, first + 9, date)
        store.put(item.key, encode_records(records, first or START, OUTCOMES))
    send(settings, OUTCOMES, *(b"%d" % number for number in range(45)))
    limits = ArchiverSettings(
        max_seconds=0.3, merge_seconds=0.3, retired_seconds=0.5, retention_days=25
    )

    def old() -> list[int]:
        return [line.first for line in archive_lines(store, OUTCOMES.name) if line.partition == 0]

    with archiving(settings, tmp_path, limits) as program:
        wait_until(
            lambda: old() == [20] and Catalogue(store).end(OUTCOMES.name, 0) == 45,
            "the old days to be removed",
            seconds=SECONDS,
            meanwhile=program.check,
        )
    assert [record.offset for record in archived(store, OUTCOMES)] == list(range(20, 45))
    assert read_gaps(store, OUTCOMES.name, 0) == (Gap(0, 20, RETENTION),)
    (found, *_) = verify_archive(store, settings, OUTCOMES.name)
    assert (found.problems, found.records) == ((), 25)


def test_an_archive_of_an_earlier_build_is_upgraded_in_place(
    settings: Settings, store: ObjectStore, tmp_path: Path
) -> None:
    """Objects without a date, and side files under their former names, on a real store."""
    prefix = prefix_of(OUTCOMES.name, 0)
    send(settings, OUTCOMES, *(b"%d" % number for number in range(30)))
    for first in range(0, 24, 2):
        records = [Record(n, 1, b"k", b"%d" % n, []) for n in (first, first + 1)]
        item = ArchivedObject(OUTCOMES.name, 0, first, first + 1)
        store.put(item.key, encode_records(records, first or START))
    store.put(f"{prefix}index.json", b'{"entries":[],"retired":[],"v":1}')
    store.put(f"{prefix}gaps.json", b'{"gaps":[[90,91,"batch"]],"v":1}')
    limits = ArchiverSettings(
        max_seconds=0.3, merge_seconds=0.3, retired_seconds=0.5, merge_objects=4
    )

    def few() -> bool:
        keys = {one.key.removeprefix(prefix) for one in store.objects(prefix)}
        undated = [key for key in keys if "/" not in key and not key.startswith("_")]
        return len(undated) == 1 and f"{prefix}index.json" not in keys

    with archiving(settings, tmp_path, limits) as program:
        wait_until(
            lambda: Catalogue(store).end(OUTCOMES.name, 0) == 30 and few(),
            "the archive to be continued and merged",
            seconds=SECONDS,
            meanwhile=program.check,
        )
    assert [record.value for record in archived(store, OUTCOMES)] == [b"%d" % n for n in range(30)]
    dates = [item.date for item in Catalogue(store).refresh(OUTCOMES.name, 0)]
    assert dates[0] is None
    assert None not in dates[1:]
    assert store.get(index_key(OUTCOMES.name, 0))
    assert read_gaps(store, OUTCOMES.name, 0) == (Gap(90, 91, "batch"),)
    (found, *_) = verify_archive(store, settings, OUTCOMES.name)
    assert found.problems == ()


def test_pandas_reads_a_topic_from_the_store(world: World) -> None:
    """The bucket's folder as it is: partition and date are columns."""
    settings = world.settings
    there = S3FileSystem(
        access_key=settings.s3_access_key,
        secret_key=settings.s3_secret_key.get_secret_value(),
        endpoint_override=settings.s3_endpoint.partition("://")[2],
        scheme="http",
    )
    folder = f"{world.store.bucket}/archive/{SERVING_LEDGER.name}"
    frame = pd.read_parquet(folder, filesystem=there)
    assert sorted(frame["value"]) == [b"%d" % number for number in range(RECORDS)]
    assert set(frame["partition"].astype(int)) == {0}
    dates = {item.date for item in items(world, SERVING_LEDGER)}
    assert set(frame["date"].astype(str)) == {str(date) for date in dates}
    (first, *_) = sorted(set(frame["date"].astype(str)))
    day = pd.read_parquet(folder, filesystem=there, filters=[("date", "==", first)])
    assert 0 < len(day) <= len(frame)


def test_a_topic_is_exported_by_the_command(
    settings: Settings, store: ObjectStore, tmp_path: Path
) -> None:
    """As Parquet and CSV; a span of time fetches the statistics of an object alone."""
    at = dt.datetime(2026, 11, 20, 12, tzinfo=dt.UTC)
    for day in range(4):
        moment = at + dt.timedelta(day)
        ms = int(moment.timestamp() * 1000)
        value = encode(LedgerEntry("pumps", 0, day, 1, day, moment))
        item = ArchivedObject(SERVING_LEDGER.name, 0, day, day, moment.date())
        record = Record(day, ms, b"k", value, [])
        store.put(item.key, encode_records([record], day or START, SERVING_LEDGER))

    def export(file: str, *more: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [
                *(sys.executable, "-m", "millrace.console", "archive", "export"),
                *(SERVING_LEDGER.name, "--to", str(tmp_path / file), *more),
            ],
            env=environment(settings),
            cwd=PROJECT,
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )

    done = export("ledger.parquet", "--json")
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout)
    assert (said["rows"], said["undecoded"], said["partitions"]) == (4, 0, [0])
    assert pq.read_table(tmp_path / "ledger.parquet").column("epoch").to_pylist() == [0, 1, 2, 3]
    span = ("--from", "2026-11-21", "--until", "2026-11-22T13:00", "--partition", "0")
    done = export("some.csv", *span)
    assert done.returncode == 0, done.stderr
    assert "2 records of serving.ledger" in done.stdout
    assert len((tmp_path / "some.csv").read_text().splitlines()) == 3
    for file, *more in (
        ("ledger.txt",),
        ("none.csv", "--from", "yesterday"),
        ("none.csv", "--from", "2026-11-22", "--until", "2026-11-21"),
        ("none/none.csv",),
        ("none.csv", "--partition", "9"),
    ):
        refused = export(file, *more)
        assert (refused.returncode, refused.stdout) == (2, "")
        assert refused.stderr.count("\n") == 1
    assert sorted(path.name for path in tmp_path.glob("*.*")) == ["ledger.parquet", "some.csv"]
