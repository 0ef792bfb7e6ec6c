"""Records are archived as they came, and an object's name says what is in it."""

import datetime as dt

import pytest
from hypothesis import given
from hypothesis import strategies as st

from millrace.archiver.buffer import Buffer
from millrace.archiver.settings import ArchiverSettings
from millrace.contracts.errors import DataError
from millrace.contracts.topics import ARCHIVED, DAY_MS, DEAD_LETTERS, SERVING_LEDGER
from millrace.contracts.wire.messages import types_on
from millrace.infra.archive.objects import ArchivedObject, Record, parse_key
from millrace.infra.archive.parquet import (
    decode_records,
    encode_records,
    follows_of,
    footer_in,
    merge_objects,
    metadata_of,
)

record = st.builds(
    Record,
    st.integers(0, 2**60),
    st.integers(-1, 2**60),
    st.none() | st.binary(max_size=20),
    st.none() | st.binary(max_size=200),
    st.lists(st.tuples(st.text(max_size=10), st.binary(max_size=10)), max_size=4),
)


@given(st.lists(record, min_size=1, max_size=20))
def test_records_come_back_as_they_came(records: list[Record]) -> None:
    """Key, value, headers, timestamp: a replay could send the same bytes."""
    assert list(decode_records(encode_records(records), "x")) == records


@given(
    st.text("abc.", min_size=1),
    st.integers(0, 999),
    st.integers(0, 10**19),
    st.none() | st.dates(dt.date(1000, 1, 1)),
)
def test_names_are_read_back(topic: str, partition: int, first: int, date: dt.date | None) -> None:
    """A key is all that is known of an object before it is fetched."""
    item = ArchivedObject(topic, partition, first, first + 5, date)
    assert parse_key(item.key) == item


def test_names_sort_by_offset() -> None:
    """So the last key of a listing is the end of the archive; those without a date come first."""
    keys = [ArchivedObject("t", 1, first, first + 1).key for first in (2, 10, 100, 99_999)]
    days = [dt.date(2026, 9, 30), dt.date(2026, 10, 1)]
    keys += [ArchivedObject("t", 1, 10**6 + n, 10**7, day).key for n, day in enumerate(days)]
    assert sorted(keys) == keys


@pytest.mark.parametrize(
    "key",
    [
        "archive/t/partition=1/1-2.parquet",
        "models/x",
        "archive/t/partition=1/draft",
        ArchivedObject("t", 1, 1, 2).key.replace("partition=1/", "partition=1/date=2026-02-30/"),
    ],
)
def test_other_keys_are_none_of_ours(key: str) -> None:
    """Strange objects under the prefix are left alone."""
    assert parse_key(key) is None


def test_a_damaged_object_is_an_error_that_names_it() -> None:
    """The message has the key."""
    with pytest.raises(DataError, match="outcomes/1"):
        list(decode_records(b"not parquet", "outcomes/1"))


def test_a_buffer_is_due_when_full_old_or_awaited() -> None:
    """Size, bytes, age; and a shorter age while a run waits. The clock is an argument."""
    limits = ArchiverSettings(max_records=3, max_bytes=100, max_seconds=10, awaited_seconds=1)
    buffer = Buffer()
    assert not buffer.due(limits, 99.0, awaited=True)
    buffer.add(Record(0, 0, None, b"x", []), now=5.0)
    assert not buffer.due(limits, 14.9, awaited=False)
    assert buffer.due(limits, 15.0, awaited=False)
    assert buffer.due(limits, 6.0, awaited=True)
    buffer.add(Record(1, 0, None, b"x" * 99, []), now=5.0)
    assert buffer.due(limits, 5.0, awaited=False)
    small = Buffer()
    for offset in range(3):
        assert not small.due(limits, 5.0, awaited=False)
        small.add(Record(offset, 0, None, b"", []), now=5.0)
    assert small.due(limits, 5.0, awaited=False)


DAY = dt.date(2026, 12, 1)


def at(day: dt.date | None, offset: int = 0) -> Record:
    """A record of a day; None for one without a timestamp."""
    days = 0 if day is None else day.toordinal() - dt.date(1970, 1, 1).toordinal()
    return Record(offset, days * DAY_MS + (day is not None), None, b"", [])


def cut(
    days: list[dt.date | None], before: dt.date | None, today: dt.date
) -> list[tuple[dt.date, int]]:
    """Cut records of these days into objects; tell the date and the number of each."""
    buffer = Buffer()
    for offset, day in enumerate(days):
        buffer.add(at(day, offset), now=0.0)
    return [(date, len(records)) for date, records in buffer.objects(before, today)]


def test_an_object_has_the_date_of_its_records() -> None:
    """A new day begins a new object."""
    days = [DAY, DAY, DAY + dt.timedelta(1), DAY + dt.timedelta(3)]
    later = DAY + dt.timedelta(9)
    assert cut([*days], None, later) == [(DAY, 2), (days[2], 1), (days[3], 1)]


def test_dates_never_decrease() -> None:
    """A record that came late is with those it came with, and after the object before."""
    yesterday, tomorrow = DAY - dt.timedelta(1), DAY + dt.timedelta(1)
    assert cut([DAY, yesterday], None, tomorrow) == [(DAY, 2)]
    assert cut([yesterday, DAY], DAY, tomorrow) == [(DAY, 2)]
    assert cut([yesterday], tomorrow, DAY) == [(tomorrow, 1)]


def test_no_clock_is_ahead_of_the_archivers() -> None:
    """A device with a wrong clock does not move all later records into its future."""
    assert cut([DAY + dt.timedelta(500), DAY], None, DAY) == [(DAY, 2)]
    assert [date for date, _ in Buffer().objects(None, DAY)] == []
    buffer = Buffer()
    buffer.add(Record(0, 2**60, None, b"", []), now=0.0)
    assert [date for date, _ in buffer.objects(None, DAY)] == [DAY]


def test_a_record_without_a_timestamp_has_the_date_before() -> None:
    """The first one of all has the archiver's."""
    assert cut([None, DAY, None], DAY - dt.timedelta(7), DAY) == [
        (DAY - dt.timedelta(7), 1),
        (DAY, 2),
    ]
    assert cut([None, DAY - dt.timedelta(1)], None, DAY) == [(DAY, 2)]


@given(
    st.lists(st.none() | st.dates(DAY - dt.timedelta(9), DAY + dt.timedelta(9)), max_size=30),
    st.none() | st.dates(DAY - dt.timedelta(9), DAY + dt.timedelta(9)),
)
def test_all_records_are_cut_in_order(days: list[dt.date | None], before: dt.date | None) -> None:
    """Whatever their timestamps: each once, and dates ascend."""
    found = cut(days, before, DAY)
    dates = [date for date, _ in found]
    assert sum(count for _, count in found) == len(days)
    assert dates == sorted(set(dates))
    assert before is None or all(date >= before for date in dates)
    assert all(date <= max(DAY, before or DAY) for date in dates)


def test_a_file_names_its_topic_and_its_events() -> None:
    """Also after it was merged; and what it follows."""
    first = encode_records([at(DAY, 3)], 2, SERVING_LEDGER)
    second = encode_records([at(DAY, 9)], 4, SERVING_LEDGER)
    for data in (first, merge_objects([("a", first), ("b", second)])):
        said = metadata_of(data, "x")
        assert said[b"millrace.topic"] == b"serving.ledger"
        assert said[b"millrace.event"] == b"millrace.ledger-entry.v1"
        assert follows_of(data, "x") == 2


def test_every_archived_topic_says_what_it_holds() -> None:
    """Dead letters hold anything."""
    untyped = [topic for topic in ARCHIVED if not types_on(topic)]
    assert untyped == [DEAD_LETTERS]


def test_the_last_bytes_of_a_file_have_the_times_of_its_records() -> None:
    """So an object outside of a span of time need not be fetched."""
    records = [Record(n, 1_000 + n % 7, None, b"x" * 200, []) for n in range(20)]
    data = encode_records(records)
    assert footer_in(data[-8192:]) == (20, 1_000, 1_006)
    assert footer_in(data[-100:]) is None
    assert footer_in(b"") is None
