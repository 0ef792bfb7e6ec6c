"""The retention removes whole objects, notes it before, and dies anywhere without harm."""

import datetime as dt
from contextlib import suppress
from typing import cast

import msgspec
import pytest

from millrace.archiver.merger import Merger
from millrace.archiver.retention import too_old
from millrace.archiver.settings import ArchiverSettings
from millrace.console.operations.archive.verify import verify_archive
from millrace.contracts.errors import ServerError
from millrace.contracts.topics import ARCHIVED, OUTCOMES, REMOVABLE, Topic
from millrace.infra.archive.catalogue import Catalogue, find_end
from millrace.infra.archive.digest import RecordDigest
from millrace.infra.archive.gaps import (
    BATCH,
    RETENTION,
    Gap,
    RemovedRecordsError,
    note_gap,
    read_gaps,
    removed_until,
)
from millrace.infra.archive.index import Entry
from millrace.infra.archive.objects import ArchivedObject, Record
from millrace.infra.archive.parquet import START, decode_records, encode_records
from millrace.infra.object_store import ObjectStore
from millrace.trainer.runs.manifest import Archive, PinnedObject
from tests.unit.trainer.shelf import Shelf

TOPIC = OUTCOMES.name
DAY = dt.date(2026, 12, 1)
#: Objects of a day, and records of an object.
OBJECTS, RECORDS = 3, 2
LIMITS = ArchiverSettings(merge_objects=2, retired_seconds=10, retention_days=5)
EVERYTHING = ArchiverSettings(merge_objects=2, retired_seconds=10)


def record(offset: int) -> Record:
    """The record at an offset."""
    return Record(offset, 7, None, b"%d" % offset, [])


def store_of(shelf: Shelf) -> ObjectStore:
    """The shelf as the code under test sees it."""
    return cast("ObjectStore", shelf)


def days_of(shelf: Shelf, days: int, topic: str = TOPIC) -> int:
    """Archive some days, each object with the position that it follows; tell how many records."""
    end = 0
    for day in range(days):
        for _ in range(OBJECTS):
            held = [record(end + number) for number in range(RECORDS)]
            item = ArchivedObject(topic, 0, end, held[-1].offset, DAY + dt.timedelta(day))
            shelf.put(item.key, encode_records(held, end or START))
            end = item.last + 1
    return end


def seconds(day: int) -> float:
    """Noon of a day, counted from the first one."""
    return dt.datetime.combine(DAY + dt.timedelta(day), dt.time(12), dt.UTC).timestamp()


def work(shelf: Shelf, day: int, topic: str = TOPIC, limits: ArchiverSettings = LIMITS) -> None:
    """Merge and remove until there is nothing to do, at once and some time later."""
    merger = Merger(store_of(shelf), limits, lambda: {(topic, 0)})
    for moment in (seconds(day), seconds(day) + 60):
        for _ in range(100):
            if not merger.round(topic, 0, moment):
                break
        else:
            raise AssertionError("there is always something to do")


def read(shelf: Shelf) -> list[int]:
    """Offsets of all that is archived; a listing may have more, which is to be deleted."""
    indexed, listed = (
        [
            kept.offset
            for item in Catalogue(store_of(shelf), whole=whole).refresh(TOPIC, 0)
            for kept in decode_records(shelf.get(item.key), item.key)
        ]
        for whole in (False, True)
    )
    assert indexed == listed[len(listed) - len(indexed) :]
    return indexed


def problems(shelf: Shelf) -> set[str]:
    """What is wrong with the archive."""
    return {
        problem.kind
        for found in verify_archive(store_of(shelf), None)
        for problem in found.problems
    }


def test_what_is_older_goes_and_is_noted() -> None:
    """Days within the retention stay; the archive ends where it did."""
    shelf = Shelf()
    end = days_of(shelf, 10)
    store = store_of(shelf)
    note_gap(store, TOPIC, 0, Gap(end, end + 1, BATCH))
    for today, first_day in ((5, 0), (6, 1), (9, 4), (9, 4)):
        work(shelf, today)
        first = first_day * OBJECTS * RECORDS
        assert read(shelf) == list(range(first, end))
        gaps = read_gaps(store, TOPIC, 0)
        assert removed_until(gaps) == first
        assert len(gaps) == 1 + (first > 0)
        assert problems(shelf) == set()
    assert find_end(store, TOPIC, 0, end).position == end


def test_without_a_setting_everything_stays() -> None:
    """A century later, too."""
    shelf = Shelf()
    end = days_of(shelf, 4)
    work(shelf, 36_500, limits=EVERYTHING)
    assert read(shelf) == list(range(end))


def test_the_newest_object_stays_whatever_its_age() -> None:
    """It tells the archiver where to go on: without it, all that Kafka has would come again."""
    shelf = Shelf()
    end = days_of(shelf, 4)
    work(shelf, 400)
    assert read(shelf)[-1] == end - 1
    assert len(Catalogue(store_of(shelf)).refresh(TOPIC, 0)) == 1
    assert find_end(store_of(shelf), TOPIC, 0, end).position == end
    assert problems(shelf) == set()


@pytest.mark.parametrize("topic", [topic for topic in ARCHIVED if topic not in REMOVABLE])
def test_what_explains_the_results_is_never_removed(topic: Topic) -> None:
    """Ledger, registry, runs, epochs, requests, retries."""
    shelf = Shelf()
    end = days_of(shelf, 4, topic.name)
    work(shelf, 400, topic.name)
    (found,) = verify_archive(store_of(shelf), None)
    assert (found.records, found.gaps, found.problems) == (end, (), ())


def test_objects_without_a_date_go_before_the_first_that_has_one() -> None:
    """They are older than it, however old."""
    dated = [Entry(n, n, 1, date=DAY + dt.timedelta(n)) for n in range(2, 5)]
    entries = [Entry(0, 0, 1), Entry(1, 1, 1), *dated]
    for today, count in ((7, 0), (8, 3), (9, 4), (99, 4)):
        found = too_old(entries, DAY + dt.timedelta(today), 5)
        assert list(found) == entries[:count]
    assert list(too_old(entries[:2], DAY + dt.timedelta(99), 5)) == []
    assert list(too_old([], DAY, 5)) == []


@pytest.mark.parametrize("changes", range(40))
@pytest.mark.parametrize("after", [LIMITS, EVERYTHING])
def test_a_removal_that_dies_anywhere_is_told_from_a_loss(
    changes: int, after: ArchiverSettings
) -> None:
    """And is finished later, though the setting may be another one by then."""
    shelf = Shelf()
    end = days_of(shelf, 10)
    shelf.changes_left = changes
    with suppress(ServerError):
        work(shelf, 9)
    shelf.changes_left = None
    assert problems(shelf) <= {"doubled"}  # a merged object that no index names yet
    removed = removed_until(read_gaps(store_of(shelf), TOPIC, 0))
    assert read(shelf)[removed - end :] == list(range(removed, end))
    work(shelf, 9, limits=after)
    assert problems(shelf) == set()
    found = read(shelf)
    assert found == sorted(set(found))
    assert found[-1] == end - 1
    if after.retention_days:
        assert found[0] == 4 * OBJECTS * RECORDS


def pinned(first: int, until: int) -> PinnedObject:
    """A range of a manifest."""
    digest = RecordDigest()
    for offset in range(first, until):
        digest.add(record(offset))
    key = ArchivedObject(TOPIC, 0, first, until - 1, DAY).key
    return PinnedObject(key, digest.hexadecimal, first, until - 1, until)


def test_a_run_that_reads_what_was_removed_is_told_so() -> None:
    """Neither altered nor lost: the setting is named. What is left can be read."""
    shelf = Shelf()
    days_of(shelf, 10)
    work(shelf, 9)
    store = store_of(shelf)
    ranges = Archive(store, Catalogue(store), 2)
    kept = list(ranges.each([pinned(30, 40)], lambda _, one: one.offset))
    assert kept == list(range(30, 40))
    with pytest.raises(RemovedRecordsError, match=r"outcomes/0 before position 24.*RETENTION_DAYS"):
        list(ranges.each([pinned(20, 40)], lambda _, one: one.offset))


def test_a_gap_of_the_retention_only_grows() -> None:
    """It is one gap, from the beginning on; others stay beside it."""
    store = store_of(Shelf())
    note_gap(store, TOPIC, 0, Gap(3, 4, BATCH))
    for until in (10, 30, 20):
        note_gap(store, TOPIC, 0, Gap(0, until, RETENTION))
    assert read_gaps(store, TOPIC, 0) == (Gap(0, 30, RETENTION), Gap(3, 4, BATCH))
    assert msgspec.json.encode(read_gaps(store, TOPIC, 0)[0]) == b'[0,30,"retention"]'
