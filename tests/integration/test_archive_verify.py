"""`millrace archive verify` on a real broker and object store, each kind of damage once."""

from __future__ import annotations

import io
import secrets
from collections.abc import Callable
from dataclasses import dataclass

import pytest
from minio.commonconfig import CopySource

from millrace.archiver.merger import Merger
from millrace.archiver.settings import ArchiverSettings
from millrace.console.operations.archive.listing import archive_lines
from millrace.console.operations.archive.verify import Problem, verify_archive
from millrace.contracts.topics import ARCHIVED, SENSOR_WINDOWS
from millrace.infra import embedded
from millrace.infra.archive.index import Index, index_key
from millrace.infra.archive.objects import ArchivedObject, parse_key
from millrace.infra.kafka.clients import admin, producer
from millrace.infra.local.waiting import wait_until
from millrace.infra.object_store import AlteredObjectError, ObjectStore
from millrace.infra.settings import Settings
from millrace.infra.topics.admin import create_topics
from tests.integration.observing import archiver
from tests.places import settings_at

TOPIC = SENSOR_WINDOWS.name
#: Records in the archive, and in each of its objects.
RECORDS, SIZE = 200, 20
SECONDS = 60.0


@dataclass
class Archive:
    """An archive of two hundred records of one partition, written by the archiver.

    Attributes:
        settings: Its namespace.
        objects: Its objects, by key.
    """

    settings: Settings
    objects: dict[str, bytes]


@pytest.fixture(scope="module")
def archive(servers: embedded.Endpoints, tmp_path_factory: pytest.TempPathFactory) -> Archive:
    """Topics and an archive that all tests share."""
    folder = tmp_path_factory.mktemp("archive")
    settings = settings_at(
        servers, folder / "var", f"test-{secrets.token_hex(4)}", kafka_partitions=1
    )
    create_topics(admin(settings), settings, ARCHIVED)
    store = ObjectStore(settings)
    store.create_bucket()
    program = archiver(settings, ArchiverSettings(max_records=SIZE, max_seconds=0.5), folder)
    program.start()
    try:
        client = producer(settings)
        for number in range(RECORDS):
            client.produce(settings.named(TOPIC), b"%d" % number, partition=0)
        assert client.flush(30) == 0
        wait_until(
            lambda: [line.until for line in archive_lines(store, TOPIC)] == [RECORDS],
            "the archive",
            seconds=SECONDS,
            meanwhile=program.check,
        )
    finally:
        program.stop()
    return Archive(settings, {one.key: store.get(one.key) for one in store.objects("archive/")})


@pytest.fixture
def settings(archive: Archive) -> Settings:
    """Settings that reach it."""
    return archive.settings


@pytest.fixture
def store(archive: Archive) -> ObjectStore:
    """Its store, as the archiver has left it."""
    found = ObjectStore(archive.settings)
    found.remove([one.key for one in found.objects("archive/")])
    for key, data in archive.objects.items():
        found.put(key, data)
    return found


def problems(store: ObjectStore, settings: Settings | None = None) -> list[Problem]:
    """What is wrong with the only partition."""
    (found,) = verify_archive(store, settings, TOPIC)
    return list(found.problems)


def items(store: ObjectStore) -> list[ArchivedObject]:
    """Its objects, by offset."""
    found = [parse_key(one.key) for one in store.objects(f"archive/{TOPIC}/partition=0/")]
    return [item for item in found if item is not None]


def test_a_whole_archive_has_no_problems(store: ObjectStore, settings: Settings) -> None:
    """Before and after its objects were merged, with the broker and without."""
    for compared in (settings, None):
        (found,) = verify_archive(store, compared, TOPIC)
        assert (found.records, found.problems, found.gaps) == (RECORDS, (), ())
    merger = Merger(store, ArchiverSettings(merge_objects=4), lambda: {(TOPIC, 0)})
    while merger.round(TOPIC, 0, 0.0):
        pass
    (line,) = archive_lines(store, TOPIC)
    assert (line.first, line.until) == (0, RECORDS)
    assert line.objects < RECORDS / SIZE
    (found,) = verify_archive(store, settings, TOPIC)
    assert (found.records, found.problems) == (RECORDS, ())


@pytest.mark.parametrize("place", [0, 4])
def test_a_deleted_object_is_missing(store: ObjectStore, place: int) -> None:
    """The first one, too; the broker is not asked."""
    item = items(store)[place]
    store.remove([item.key])
    (problem,) = problems(store)
    assert (problem.kind, problem.first, problem.until) == ("missing", item.first, item.last + 1)


def test_a_deleted_end_is_missing_in_comparison_with_the_topic(
    store: ObjectStore, settings: Settings
) -> None:
    """Nothing follows the last object: only the archiver's committed offset tells of it."""
    item = items(store)[-1]
    store.remove([item.key])
    assert problems(store) == []
    (problem,) = problems(store, settings)
    assert (problem.kind, problem.first, problem.until) == ("missing", item.first, item.last + 1)


def test_an_archive_that_is_gone_is_missing(store: ObjectStore, settings: Settings) -> None:
    """A partition without a single object is verified all the same."""
    store.remove([item.key for item in items(store)])
    (problem,) = problems(store, settings)
    assert (problem.kind, problem.first, problem.until) == ("missing", 0, RECORDS)


def _cut(data: bytes) -> bytes:
    return data[: len(data) // 2]


def _flip(data: bytes) -> bytes:
    middle = len(data) // 2
    return data[:middle] + bytes([data[middle] ^ 1]) + data[middle + 1 :]


@pytest.mark.parametrize("spoil", [_cut, _flip])
def test_an_object_that_was_altered_behind_our_back_is_named(
    store: ObjectStore, spoil: Callable[[bytes], bytes]
) -> None:
    """Its metadata hold the digest that it was stored with; nobody reads it either."""
    item = items(store)[3]
    data = spoil(store.get(item.key))
    known = store._client.stat_object(store.bucket, item.key).metadata or {}
    store._client.put_object(
        store.bucket,
        item.key,
        io.BytesIO(data),
        len(data),
        metadata={"sha256": str(known["x-amz-meta-sha256"])},
    )
    (problem,) = problems(store)
    assert (problem.kind, problem.first, problem.until) == ("altered", item.first, item.last + 1)
    with pytest.raises(AlteredObjectError, match="was altered"):
        store.get(item.key)


def test_an_object_under_a_wrong_name_is_damaged(store: ObjectStore) -> None:
    """A copy that says to hold the records after the end is not one of them."""
    last = items(store)[-1]
    other = last._replace(first=last.last + 1, last=last.last + SIZE)
    store._client.copy_object(store.bucket, other.key, CopySource(store.bucket, last.key))
    assert "damaged" in {problem.kind for problem in problems(store)}


def test_a_doubled_range_is_named_unless_it_is_retired(store: ObjectStore) -> None:
    """Readers take a record once; but nobody should have written it twice."""
    first, second = items(store)[:2]
    data = store.get(first.key)
    half = first._replace(last=second.last)
    merger = Merger(store, ArchiverSettings(merge_objects=2), lambda: {(TOPIC, 0)})
    while merger.round(TOPIC, 0, 0.0):
        pass
    assert problems(store) == []
    store.put(index_key(TOPIC, 0), Index().encode(), "application/json")
    assert data == store.get(first.key)
    found = [(each.kind, each.first, each.until) for each in problems(store)]
    assert ("doubled", half.first, first.last + 1) in found
