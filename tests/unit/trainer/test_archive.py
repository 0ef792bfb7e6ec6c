"""Records are archived as they came, and an object's name says what is in it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from millrace.archiver.buffer import Buffer
from millrace.archiver.settings import ArchiverSettings
from millrace.contracts.errors import DataError
from millrace.infra.archive.objects import (
    ArchivedObject,
    Record,
    decode_records,
    encode_records,
    parse_key,
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


@given(st.text("abc.", min_size=1), st.integers(0, 999), st.integers(0, 10**19))
def test_names_are_read_back(topic: str, partition: int, first: int) -> None:
    """A key is all that is known of an object before it is fetched."""
    item = ArchivedObject(topic, partition, first, first + 5)
    assert parse_key(item.key) == item


def test_names_sort_by_offset() -> None:
    """So the last key of a listing is the end of the archive."""
    keys = [ArchivedObject("t", 1, first, first + 1).key for first in (2, 10, 100, 99_999)]
    assert sorted(keys) == keys


@pytest.mark.parametrize(
    "key", ["archive/t/partition=1/1-2.parquet", "models/x", "archive/t/partition=1/draft"]
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
