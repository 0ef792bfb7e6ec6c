"""What was fetched is taken as it was written, or not at all."""

from typing import Any

import pytest
from aiokafka.consumer.fetcher import READ_COMMITTED
from aiokafka.errors import CorruptRecordException
from aiokafka.record.legacy_records import LegacyRecordBatchBuilder
from aiokafka.record.memory_records import MemoryRecords
from aiokafka.structs import TopicPartition

from stream_processors.batch_header import COUNTED, CRC, LENGTH
from stream_processors.fetching import CheckedRecords, ParsedRecords
from stream_processors.packing import packed_headers
from stream_processors.record_batches import RecordBatch

AT_MS = 1_700_000_000_000


def sealed(*values: bytes) -> bytes:
    """A record batch of these values, as it is sent."""
    batch = RecordBatch(1 << 20)
    batch.fill([(None, value, packed_headers([])) for value in values], AT_MS)
    batch.seal()
    return bytes(batch._build())


def old(value: bytes) -> bytes:
    """A record in the format before record batches."""
    batch = LegacyRecordBatchBuilder(magic=1, compression_type=0, batch_size=1 << 10)
    batch.append(0, AT_MS, None, value)
    return bytes(batch.build())


def values_of(data: bytes | None) -> list[bytes]:
    """Read all batches of what was fetched."""
    records, values = CheckedRecords(data), []
    while records.has_next():
        values += [record.value for record in records.next_batch()]
    return values


def test_all_batches_are_read() -> None:
    """Small and large, compressed and not; one that was cut off is left for the next fetch."""
    long = b"again and again " * 100
    data = sealed(b"a", b"b") + sealed(long) + sealed(b"c")
    assert values_of(data) == [b"a", b"b", long, b"c"]
    assert values_of(data[:-1]) == [b"a", b"b", long]
    assert values_of(old(b"a") + old(b"b")) == [b"a", b"b"]


@pytest.mark.parametrize("nothing", [b"", None])
def test_nothing_was_fetched(nothing: bytes | None) -> None:
    """That is no batch, and no error."""
    assert values_of(nothing) == []


def test_formats_are_not_mixed() -> None:
    """The first one says how all are read; what is of another one is refused."""
    for data in (sealed(b"a") + old(b"b"), old(b"a") + sealed(b"b")):
        with pytest.raises(CorruptRecordException):
            values_of(data)


FIRST, OTHER = sealed(b"a", b"b"), sealed(b"c", b"d" * 99)


@pytest.mark.parametrize("place", [CRC, *range(CRC + 4, len(OTHER), 7), len(OTHER) - 1])
def test_a_batch_that_is_not_as_it_was_written_is_not_taken(place: int) -> None:
    """Wherever a bit has changed, the batch before it is taken, and this one is not."""
    changed = bytearray(FIRST + OTHER)
    changed[len(FIRST) + place] ^= 1
    records = CheckedRecords(bytes(changed))
    assert [record.value for record in records.next_batch()] == [b"a", b"b"]
    with pytest.raises(CorruptRecordException):
        records.next_batch()


@pytest.mark.parametrize("kind", [CheckedRecords, MemoryRecords])
def test_the_fetcher_hands_out_no_changed_record(kind: Any) -> None:
    """Either ours checks, or aiokafka's own check is left on."""
    changed = bytearray(FIRST + OTHER)
    changed[-1] ^= 1
    found = ParsedRecords(
        TopicPartition("t", 0), kind(bytes(changed)), [], 0, None, None, True, READ_COMMITTED
    )
    records = iter(found)
    assert [next(records).value, next(records).value] == [b"a", b"b"]
    with pytest.raises(CorruptRecordException):
        next(records)


def test_an_old_record_that_is_not_as_it_was_written_is_not_taken() -> None:
    """It has a checksum of another kind."""
    changed = bytearray(old(b"c"))
    changed[-1] ^= 1
    with pytest.raises(CorruptRecordException):
        CheckedRecords(bytes(changed)).next_batch()


def test_the_length_is_where_we_look() -> None:
    """It counts what follows it."""
    assert int.from_bytes(OTHER[LENGTH:COUNTED], "big") == len(OTHER) - COUNTED
