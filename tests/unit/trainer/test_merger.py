"""Objects of the archive are merged, and whatever breaks off, each record is there once."""

import datetime as dt
from contextlib import suppress
from typing import cast

import pytest

from millrace.archiver.merge_plan import plan
from millrace.archiver.merger import Merger
from millrace.archiver.settings import ArchiverSettings
from millrace.contracts.errors import ServerError
from millrace.infra.archive.catalogue import (
    ArchiveEnd,
    Catalogue,
    entries_from,
    find_end,
    read_index,
)
from millrace.infra.archive.gaps import BATCH, Gap, note_gap, read_gaps
from millrace.infra.archive.index import UNREADABLE, Entry, Index, index_key
from millrace.infra.archive.objects import ArchivedObject, Record, prefix_of
from millrace.infra.archive.parquet import decode_records, encode_records
from millrace.infra.object_store import ObjectStore
from tests.unit.trainer.shelf import Shelf

TOPIC = "outcomes"
DAY = dt.date(2026, 12, 1)
LIMITS = ArchiverSettings(merge_objects=4, merge_bytes=1 << 20, retired_seconds=10)


def record(offset: int) -> Record:
    """The record at an offset."""
    return Record(offset, 7, None, b"%d" % offset, [("n", b"1")])


def store_of(shelf: Shelf) -> ObjectStore:
    """The shelf as the code under test sees it."""
    return cast("ObjectStore", shelf)


def archive(shelf: Shelf, offsets: range, most: int = 2, date: dt.date | None = None) -> None:
    """Archive records in objects of a few; without a date, as an earlier build did it."""
    for first in range(0, len(offsets), most):
        held = [record(o) for o in offsets[first : first + most]]
        item = ArchivedObject(TOPIC, 0, held[0].offset, held[-1].offset, date)
        shelf.put(item.key, encode_records(held))


def merger(shelf: Shelf, limits: ArchiverSettings = LIMITS) -> Merger:
    """A merger that is not started: rounds are asked for."""
    return Merger(store_of(shelf), limits, lambda: {(TOPIC, 0)})


def merge_all(shelf: Shelf, now: float = 0.0) -> None:
    """Do rounds until there is nothing to do."""
    started = merger(shelf)
    for _ in range(100):
        if not started.round(TOPIC, 0, now):
            return
    raise AssertionError("there is always something to do")


def read(shelf: Shelf, *, whole: bool = False) -> list[Record]:
    """Read everything that the catalogue names."""
    items = Catalogue(store_of(shelf), whole=whole).refresh(TOPIC, 0)
    return [r for i in items for r in decode_records(shelf.get(i.key), i.key)]


def parquet(shelf: Shelf) -> int:
    """How many objects the archive has."""
    return sum(key.endswith(".parquet") for key in shelf.objects_by_key)


def test_small_objects_become_large_ones_and_are_deleted_later() -> None:
    """After 100 objects of 2 records there are few, with the same records; the rest waits."""
    shelf = Shelf()
    archive(shelf, range(200))
    merge_all(shelf, now=0.0)
    items = Catalogue(store_of(shelf)).refresh(TOPIC, 0)
    assert [(i.first, i.last) for i in items] == [(0, 127), (128, 159), (160, 191), (192, 199)]
    assert parquet(shelf) > 100
    assert read(shelf) == read(shelf, whole=True) == [record(o) for o in range(200)]
    merge_all(shelf, now=9.9)
    assert parquet(shelf) > 100
    merge_all(shelf, now=10.0)
    assert parquet(shelf) == len(items)
    assert read(shelf) == read(shelf, whole=True) == [record(o) for o in range(200)]
    index = read_index(store_of(shelf), TOPIC, 0)
    assert index is not None
    assert index.retired == ()


def break_off(shelf: Shelf, changes: int, wanted: list[Record]) -> None:
    """Merge until the store has changed so often, and later to the end: all is there both times."""
    shelf.changes_left = changes
    with suppress(ServerError):
        for moment in range(20):
            merger(shelf).round(TOPIC, 0, 20.0 * moment)
    assert read(shelf) == read(shelf, whole=True) == wanted
    shelf.changes_left = None
    merge_all(shelf, now=3000.0)
    merge_all(shelf, now=4000.0)
    assert read(shelf) == read(shelf, whole=True) == wanted


@pytest.mark.parametrize("changes", range(0, 90, 3))
def test_a_merger_that_dies_anywhere_loses_and_repeats_nothing(changes: int) -> None:
    """Broken off after any number of changes of the store, and gone on with later."""
    shelf = Shelf()
    archive(shelf, range(83))
    wanted = [record(o) for o in range(83)]
    break_off(shelf, changes, wanted)
    assert parquet(shelf) <= 7


def test_a_merged_object_without_its_index_supersedes_its_parts() -> None:
    """A reader between the two writes, or after a crash between them, has each record once."""
    shelf = Shelf()
    archive(shelf, range(12))
    whole = ArchivedObject(TOPIC, 0, 0, 7)
    shelf.put(whole.key, encode_records([record(o) for o in range(8)]))
    assert read(shelf) == [record(o) for o in range(12)]
    merge_all(shelf)
    merge_all(shelf, now=100.0)
    assert read(shelf) == read(shelf, whole=True) == [record(o) for o in range(12)]
    assert ArchivedObject(TOPIC, 0, 2, 3).key not in shelf.objects_by_key


def test_records_that_two_objects_have_are_merged_once() -> None:
    """An archiver that hung and came back may have written an object with other cuts."""
    shelf = Shelf()
    archive(shelf, range(8))
    odd = ArchivedObject(TOPIC, 0, 1, 4)
    shelf.put(odd.key, encode_records([record(o) for o in range(1, 5)]))
    merge_all(shelf)
    assert read(shelf) == [record(o) for o in range(8)]


@pytest.mark.parametrize("data", [b"", b"{}", b"nothing", b'{"entries":[[5,9,1,1],[0,3,1,1]]}'])
def test_an_index_that_is_damaged_counts_for_nothing(data: bytes) -> None:
    """All objects are listed then, and the next merge writes an index."""
    shelf = Shelf()
    archive(shelf, range(40))
    shelf.put(index_key(TOPIC, 0), data)
    assert read(shelf) == [record(o) for o in range(40)]
    merge_all(shelf)
    assert read(shelf) == [record(o) for o in range(40)]
    assert (read_index(store_of(shelf), TOPIC, 0) or Index()).end > 0


def test_no_object_spans_two_dates() -> None:
    """A day that is over is merged whatever it has; the present one grows by levels."""
    shelf = Shelf()
    for day in range(3):
        archive(shelf, range(26 * day, 26 * day + 26), date=DAY + dt.timedelta(day))
    merge_all(shelf)
    items = Catalogue(store_of(shelf)).refresh(TOPIC, 0)
    assert [(i.first, i.last, i.date) for i in items[:2]] == [
        (0, 25, DAY),
        (26, 51, DAY + dt.timedelta(1)),
    ]
    assert [i.last for i in items[2:]] == [59, 67, 75, 77]
    merge_all(shelf, now=100.0)
    assert parquet(shelf) == 6
    assert read(shelf) == read(shelf, whole=True) == [record(o) for o in range(78)]


def test_a_few_records_a_day_are_an_object_a_day() -> None:
    """Though their objects never become as many as are merged otherwise."""
    shelf = Shelf()
    for day in range(30):
        archive(shelf, range(3 * day, 3 * day + 3), most=1, date=DAY + dt.timedelta(day))
        merge_all(shelf, now=100.0 * day)
    merge_all(shelf, now=10_000.0)
    assert parquet(shelf) == 29 + 3
    index = read_index(store_of(shelf), TOPIC, 0)
    assert index is not None
    assert (len(index.entries), index.retired) == (29, ())


def test_an_archive_of_an_earlier_build_is_gone_on_with() -> None:
    """Objects without a date, and an index and gaps under their former names."""
    shelf = Shelf()
    archive(shelf, range(0, 60, 2), most=1)  # every other position, as of transactions
    store = store_of(shelf)
    former = prefix_of(TOPIC, 0)
    shelf.put(f"{former}gaps.json", b'{"gaps":[[70,71,"record"]],"v":1}')
    shelf.put(f"{former}index.json", b'{"entries":[],"retired":[],"v":1}')
    merge_all(shelf)
    old = Catalogue(store).refresh(TOPIC, 0)
    assert {item.date for item in old} == {None}
    assert find_end(store, TOPIC, 0, 10**6) == ArchiveEnd(59, None)
    archive(shelf, range(80, 100), date=DAY)
    assert find_end(store, TOPIC, 0, 10**6) == ArchiveEnd(100, DAY)
    note_gap(store, TOPIC, 0, Gap(75, 76, BATCH))
    merge_all(shelf, now=50.0)
    merge_all(shelf, now=100.0)
    wanted = [record(o) for o in (*range(0, 60, 2), *range(80, 100))]
    assert read(shelf) == read(shelf, whole=True) == wanted
    assert [i.last for i in Catalogue(store).refresh(TOPIC, 0) if i.date is None] == [58]
    assert read_gaps(store, TOPIC, 0) == (Gap(70, 71, "record"), Gap(75, 76, BATCH))
    names = {key.rpartition("/")[2] for key in shelf.objects_by_key}
    assert {name for name in names if name.endswith(".json")} == {"_index.json", "_gaps.json"}


INDEX_1 = b'{"entries":[[0,7,999,1],[8,15,999,1]],"retired":[[0,1,5.0],[2,3,5.0]],"v":1}'


@pytest.mark.parametrize("changes", range(0, 60, 2))
def test_an_upgrade_that_dies_anywhere_loses_and_repeats_nothing(changes: int) -> None:
    """An index of version 1 with retired objects, and days after it."""
    shelf = Shelf()
    archive(shelf, range(16), most=8)
    archive(shelf, range(4))
    archive(shelf, range(16, 30))
    shelf.put(f"{prefix_of(TOPIC, 0)}index.json", INDEX_1)
    for day in range(3):
        archive(shelf, range(30 + 9 * day, 39 + 9 * day), date=DAY + dt.timedelta(day))
    wanted = [record(o) for o in range(57)]
    break_off(shelf, changes, wanted)
    assert [i.date for i in Catalogue(store_of(shelf)).refresh(TOPIC, 0)][:3] == [
        None,
        DAY,
        DAY + dt.timedelta(1),
    ]
    assert shelf.objects_by_key.keys() == {
        index_key(TOPIC, 0),
        *(item.key for item in Catalogue(store_of(shelf)).refresh(TOPIC, 0)),
    }


def test_the_end_of_years_is_found_in_the_last_day() -> None:
    """A thousand days, each with some objects: a few requests, of which none lists them all."""
    shelf = Shelf()
    for day in range(1000):
        shelf.put(ArchivedObject(TOPIC, 0, day, day, DAY + dt.timedelta(day)).key, b"")
    last = DAY + dt.timedelta(999)
    assert find_end(store_of(shelf), TOPIC, 0, 1000) == ArchiveEnd(1000, last)
    assert shelf.listings <= 2
    shelf.objects_by_key.pop(ArchivedObject(TOPIC, 0, 999, 999, last).key)
    assert find_end(store_of(shelf), TOPIC, 0, 1000).position == 999
    assert entries_from(store_of(shelf), TOPIC, 0, 997, DAY + dt.timedelta(997)) == [
        Entry(997, 997, 0, 0, DAY + dt.timedelta(997)),
        Entry(998, 998, 0, 0, DAY + dt.timedelta(998)),
    ]


def test_an_index_that_names_what_is_gone_is_made_anew() -> None:
    """An archiver that hung may leave an old one, whose objects were merged and deleted."""
    shelf = Shelf()
    archive(shelf, range(24))
    merge_all(shelf)
    old = shelf.objects_by_key[index_key(TOPIC, 0)]
    archive(shelf, range(24, 60))
    merge_all(shelf)
    merge_all(shelf, now=100.0)
    shelf.objects_by_key[index_key(TOPIC, 0)] = old
    archive(shelf, range(60, 120))
    merge_all(shelf, now=200.0)
    merge_all(shelf, now=300.0)
    assert read(shelf) == read(shelf, whole=True) == [record(o) for o in range(120)]


def test_a_damaged_object_is_left_alone_and_the_others_are_merged() -> None:
    """One object that nobody can read stops neither the merging nor the index."""
    shelf = Shelf()
    archive(shelf, range(80))
    damaged = ArchivedObject(TOPIC, 0, 20, 21)
    shelf.objects_by_key[damaged.key] = b"not parquet"
    merge_all(shelf)
    merge_all(shelf, now=100.0)
    index = read_index(store_of(shelf), TOPIC, 0)
    assert index is not None
    assert [e.first for e in index.entries if e.level == UNREADABLE] == [20]
    assert index.end > 60
    assert shelf.objects_by_key[damaged.key] == b"not parquet"
    assert parquet(shelf) < 16


def test_one_archiver_does_not_write_over_the_index_of_another() -> None:
    """It began with an index that is not there any more: it leaves all as it is."""
    shelf = Shelf()
    archive(shelf, range(24))
    other = Index((Entry(0, 23, 1, 1),)).encode()

    class Overtaken(Shelf):
        def put(self, key: str, data: bytes, kind: str = "") -> str:
            super().put(index_key(TOPIC, 0), other)
            return super().put(key, data, kind)

    overtaken = Overtaken()
    overtaken.objects_by_key = shelf.objects_by_key
    assert not merger(overtaken).round(TOPIC, 0, 0.0)
    assert overtaken.objects_by_key[index_key(TOPIC, 0)] == other


@pytest.mark.parametrize("end", [0, 1, 4_999, 5_000, 5_001, 700_000, 10**12 + 3])
@pytest.mark.parametrize("behind", [0, 1, 6_000, 10**6])
def test_the_end_is_found_without_listing_the_archive(end: int, behind: int) -> None:
    """Wherever it is, near the topic's end or far from it, a few requests find it."""
    shelf = Shelf()
    for last in range(max(end - 40, 0), end):
        shelf.put(ArchivedObject(TOPIC, 0, last, last).key, b"")
    assert find_end(store_of(shelf), TOPIC, 0, end + behind).position == end
    assert shelf.listings <= 10


def test_ninety_days_of_objects_are_few_and_each_is_rewritten_rarely() -> None:
    """518,400 objects of 15 seconds, each of 3 kB: what is left, and how often it was written."""
    most, size, count = 32, 3_000, 90 * 86_400 // 15
    entries: list[Entry] = []
    written = 0
    for first in range(0, count, most):
        entries += [Entry(number, number, size) for number in range(first, first + most)]
        while groups := plan(entries[-4 * most :], most=most, most_bytes=32 << 20):
            for group in groups:
                whole = Entry(
                    group[0].first,
                    group[-1].last,
                    sum(one.bytes for one in group),
                    group[0].level + 1,
                )
                written += whole.bytes
                at = entries.index(group[0], max(len(entries) - 4 * most, 0))
                entries[at : at + len(group)] = [whole]
    assert sum(one.last - one.first + 1 for one in entries) == count
    full = count * size // (30 << 20)
    assert len(entries) < 3 * most + full
    assert written < 4 * count * size
