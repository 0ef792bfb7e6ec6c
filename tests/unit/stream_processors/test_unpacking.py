"""Records are taken out of a batch as aiokafka's own reader takes them out."""

from typing import Any

import pytest
from aiokafka.codec import gzip_encode, lz4_encode, snappy_encode, zstd_encode
from aiokafka.errors import CorruptRecordException
from aiokafka.record.default_records import DefaultRecordBatch, DefaultRecordBatchBuilder
from hypothesis import example, given
from hypothesis import strategies as st

from millrace.contracts.invalid_record import InvalidRecord
from millrace.contracts.topics import MAX_BATCH_BYTES
from millrace.stream_processors.codec.batch_header import ATTRIBUTES, HEADER, HEADER_BYTES
from millrace.stream_processors.codec.decompression import decompressed
from millrace.stream_processors.codec.packing import packed_headers
from millrace.stream_processors.codec.unpacking import (
    APPEND_TIME,
    UnreadBatch,
    unpacked,
    unpacked_headers,
)

FIRST_MS = 1_700_000_000_000
NONE, GZIP, SNAPPY, LZ4, ZSTD = range(5)
LARGEST_MS = 1 << 40

HEADERS = st.lists(st.tuples(st.text(max_size=8), st.none() | st.binary(max_size=20)), max_size=4)
Told = tuple[int, bytes | None, bytes | None, list[tuple[str, bytes | None]]]
RECORDS = st.lists(
    st.tuples(
        st.integers(-LARGEST_MS, LARGEST_MS),
        st.none() | st.binary(max_size=100),
        st.none() | st.binary(max_size=300),
        HEADERS,
    ),
    min_size=1,
    max_size=20,
)


def built(records: list[Told], codec: int = NONE) -> bytes:
    """A batch as aiokafka's builder writes it."""
    batch = DefaultRecordBatchBuilder(2, codec, 0, -1, -1, -1, 1 << 30)
    for place, (after_ms, key, value, headers) in enumerate(records):
        batch.append(place, FIRST_MS + after_ms, key, value, headers)
    return bytes(batch.build())


def facts(records: Any) -> list[tuple[Any, ...]]:
    """All that is known of records."""
    return [(r.offset, r.timestamp, r.timestamp_type, r.key, r.value, r.headers) for r in records]


def ours(batch: bytes) -> list[tuple[Any, ...]]:
    """A batch as it is read here."""
    return facts(unpacked(memoryview(batch)))


@given(RECORDS, st.sampled_from([NONE, GZIP, SNAPPY, LZ4, ZSTD]))
def test_records_are_what_aiokafka_reads(records: list[Told], codec: int) -> None:
    """Nulls, times that go back, and every codec."""
    batch = built(records, codec)
    assert ours(batch) == facts(DefaultRecordBatch(batch))


@pytest.mark.parametrize("size", [0, 1, 63, 64, 127, 128, 8191, 8192, 1 << 20, (1 << 20) + 1])
def test_lengths_of_one_to_four_bytes(size: int) -> None:
    """Of keys, values, headers, and so of records."""
    data = bytes(size)
    batch = built([(0, data, data, [("h", data)]), (1, None, data, [])])
    assert ours(batch) == facts(DefaultRecordBatch(batch))


def test_places_of_one_to_three_bytes() -> None:
    """A batch may have many records."""
    batch = built([(0, b"k", b"v", [])] * 8200)
    assert ours(batch) == facts(DefaultRecordBatch(batch))


def test_the_brokers_time_is_that_of_all_records() -> None:
    """Where the topic says so."""
    batch = bytearray(built([(0, b"k", b"v", []), (5, b"k", b"w", [])]))
    batch[ATTRIBUTES + 1] |= APPEND_TIME
    expected: list[tuple[Any, ...]] = [
        (0, FIRST_MS + 5, 1, b"k", b"v", []),
        (1, FIRST_MS + 5, 1, b"k", b"w", []),
    ]
    assert ours(bytes(batch)) == facts(DefaultRecordBatch(bytes(batch))) == expected


def test_offsets_begin_where_the_broker_says() -> None:
    """And need not follow each other: a topic that is compacted has gaps."""
    batch = bytearray(built([(0, b"k", b"v", []), (0, b"l", b"w", [])]))
    batch[:8] = (1 << 40).to_bytes(8, "big")
    assert [record.offset for record in unpacked(memoryview(batch))] == [1 << 40, (1 << 40) + 1]


@given(st.integers(0, 6), st.binary(max_size=60))
@example(1, b"\x0c\0\0\0\x01\x01\x00")
@example(2, b"\x0c\0\0\0\x01\x01\x00" * 2)
@example(1, b"\xff" * 11)
@example(1, b"\x0a\0\0\0\x01\x01")
def test_what_is_no_record_is_told(count: int, data: bytes) -> None:
    """Whatever the bytes are, and however their checksum came to be right."""
    fields = list(HEADER.unpack(built([(0, b"", b"", [])])[:HEADER_BYTES]))
    fields[-1] = count
    batch = memoryview(HEADER.pack(*fields) + data)
    records = unpacked(batch)
    if any(isinstance(record, UnreadBatch) for record in records):
        assert reason_of(bytes(batch)) == "undecodable_batch"
        return
    assert len(records) == count
    spent = sum(len(r.key or b"") + len(r.value or b"") + len(r.packed) for r in records)
    assert spent <= len(data)


@pytest.mark.parametrize("cut", range(1, 12))
def test_a_record_that_ends_after_its_batch(cut: int) -> None:
    """Nothing is taken for what is missing."""
    batch = built([(0, b"pump-1", b"x", [("a", b"b")])])
    assert reason_of(batch[:-cut]) == "undecodable_batch"


def unread(batch: bytes) -> UnreadBatch:
    """What stands for a batch that cannot be read."""
    (found,) = unpacked(memoryview(batch))
    assert isinstance(found, UnreadBatch)
    return found


def reason_of(batch: bytes) -> str:
    """Why a batch cannot be read."""
    return unread(batch).problem.reason


def test_a_codec_that_nobody_has() -> None:
    """It is named."""
    batch = bytearray(built([(0, b"k", b"v", [])]))
    batch[ATTRIBUTES + 1] |= 5
    assert "unknown codec, 5" in unread(bytes(batch)).problem.detail


#: Ways to compress, by codec; snappy has two.
COMPRESSED = [
    (GZIP, lambda data: gzip_encode(data, 1)),
    (SNAPPY, snappy_encode),
    (SNAPPY, lambda data: snappy_encode(data, xerial_compatible=False)),
    (LZ4, lambda data: lz4_encode(data, 1)),
    (ZSTD, lambda data: zstd_encode(data, 1)),
]


@pytest.mark.parametrize(("codec", "encode"), COMPRESSED)
def test_what_is_decompressed_has_a_bound(codec: int, encode: Any) -> None:
    """It may be that large, and not a byte larger; memory is not taken for more."""
    data = bytes(1 << 16)
    small = memoryview(bytes(encode(data)))
    assert decompressed(small, codec, len(data)) == data
    with pytest.raises(InvalidRecord, match=r"more than 65535 bytes") as refused:
        decompressed(small, codec, len(data) - 1)
    assert refused.value.reason == "oversized_batch"
    assert decompressed(small, codec) == data


@pytest.mark.parametrize(("codec", "encode"), COMPRESSED)
@pytest.mark.parametrize("cut", [0.0, 0.3, 0.9])
def test_a_torn_compression_is_told(codec: int, encode: Any, cut: float) -> None:
    """Wherever it ends."""
    whole = bytes(encode(bytes(range(256)) * 8))
    with pytest.raises(InvalidRecord) as refused:
        decompressed(memoryview(whole)[: int(len(whole) * cut)], codec)
    assert refused.value.reason == "undecodable_batch"


def test_snappy_says_its_length_first() -> None:
    """And is not believed beyond the bound; nor are blocks that end after their batch."""
    for says_four_gigabytes in (b"\xff\xff\xff\xff\x0f\0", bytes(16)):
        with pytest.raises(InvalidRecord):
            decompressed(memoryview(says_four_gigabytes), SNAPPY)
    header = bytes(snappy_encode(b""))[:16]
    for length in (b"\xff\xff\xff\xff", b"\0\0\0\x09"):
        with pytest.raises(InvalidRecord, match="ends after its batch"):
            decompressed(memoryview(header + length + b"\0"), SNAPPY)


def test_an_oversized_batch_is_one_record_at_its_end() -> None:
    """Whoever takes it goes on behind it, and has all of its bytes."""
    value = bytes(MAX_BATCH_BYTES // 2)
    batch = built([(0, b"k", value, [])] * 3, ZSTD)
    found = unread(batch)
    assert (found.first_offset, found.offset, found.count) == (0, 2, 3)
    assert (found.problem.reason, found.key, found.value) == ("oversized_batch", None, batch)
    assert found.headers == []


@given(HEADERS)
def test_headers_are_read_as_they_were_packed(headers: list[tuple[str, bytes | None]]) -> None:
    """One after the other, and no byte is left."""
    packed = packed_headers(headers)
    assert unpacked_headers(packed) == headers
    for broken in (packed + b"\0", packed[:-1]):
        with pytest.raises(CorruptRecordException):
            unpacked_headers(broken)


def test_a_headers_name_that_is_no_text_can_be_read() -> None:
    """Clients in C may send one, and a broker takes it: the record goes its way."""
    assert unpacked_headers(b"\x02\x02\xff\x01") == [("\ufffd", None)]


@pytest.mark.parametrize("packed", [b"", b"\x02", b"\x02\x01\x01", b"\x01\x00", b"\xff" * 11])
def test_headers_that_no_broker_takes(packed: bytes) -> None:
    """None, too few, one without a name, too many bytes, a number without an end."""
    with pytest.raises(CorruptRecordException):
        unpacked_headers(packed)
