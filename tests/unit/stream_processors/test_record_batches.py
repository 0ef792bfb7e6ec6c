"""A sealed record batch is what aiokafka's own reader reads, and what its builder writes."""

from itertools import cycle
from typing import Any

import numpy as np
import pytest
from aiokafka.record._crecords.default_records import DefaultRecordBatchBuilder
from aiokafka.record.memory_records import MemoryRecords
from hypothesis import example, given
from hypothesis import strategies as st

from contracts.headers import RawHeaders
from stream_processors.batch_header import HEADER_BYTES
from stream_processors.packing import SMALL, Content, packed_headers
from stream_processors.record_batches import NO_CODEC, ZSTD, RecordBatch

AT_MS = 1_700_000_000_000
Written = tuple[bytes | None, bytes, RawHeaders]
records = st.lists(
    st.tuples(
        st.none() | st.binary(max_size=20),
        st.binary(max_size=300),
        st.lists(st.tuples(st.text(max_size=8), st.none() | st.binary(max_size=20)), max_size=4),
    ),
    min_size=1,
    max_size=20,
)


def contents(written: list[Written]) -> list[Content]:
    """Records as a batch takes them."""
    return [(key, value, packed_headers(headers)) for key, value, headers in written]


def read(built: bytearray) -> Any:
    """The one batch of some bytes, checked."""
    batches = MemoryRecords(bytes(built))
    batch = batches.next_batch()
    assert not batches.has_next()
    assert batch is not None
    assert batch.validate_crc()
    return batch


@given(records, st.integers(0, 2**40), st.integers(0, 2**15 - 1), st.integers(0, 2**31 - 1))
def test_what_was_written_is_read(
    written: list[Written], producer: int, epoch: int, sequence: int
) -> None:
    """Its header may be written again until it has left."""
    batch = RecordBatch(1 << 20)
    assert batch.fill(contents(written), AT_MS) == len(written)
    batch.close()
    batch.seal()
    for first in (0, sequence):
        batch._set_producer_state(producer, epoch, first)
        found = read(batch._build())
        assert (found.producer_id, found.producer_epoch) == (producer, epoch)
        assert found.base_sequence == first
        assert found.timestamp_type == 0
        assert not found.is_transactional
        assert [
            (record.key, record.value, list(record.headers), record.timestamp, record.offset)
            for record in found
        ] == [(*content, AT_MS, place) for place, content in enumerate(written)]


@given(records, st.lists(st.integers(-(2**40), 2**40), min_size=20, max_size=20))
@example([(b"k", b"x" * (SMALL * 5), [])], [0] * 20)
@example([(None, b"", [])] * (SMALL + 2), [0] * (SMALL + 2))
def test_it_is_what_aiokafka_writes(written: list[Written], after_ms: list[int]) -> None:
    """Byte for byte, header included, whatever a clock does; before compression."""
    theirs = DefaultRecordBatchBuilder(
        2,
        NO_CODEC,
        is_transactional=0,
        producer_id=-1,
        producer_epoch=-1,
        base_sequence=0,
        batch_size=1 << 20,
    )
    ours = RecordBatch(1 << 20)
    for place, (record, after) in enumerate(zip(written, after_ms, strict=False)):
        key, value, headers = record
        theirs.append(place, AT_MS + after, key, value, headers)
        assert ours.fill(contents([record]), AT_MS + after) == 1
    ours.close()
    ours.seal()
    sent, expected = bytes(ours._build()), bytes(theirs.build())
    if read(bytearray(sent)).compression_type == NO_CODEC:
        assert sent == expected
    found, wanted = (
        [(r.offset, r.timestamp, r.key, r.value, r.headers) for r in read(bytearray(batch))]
        for batch in (sent, expected)
    )
    assert found == wanted


@given(records, st.integers(HEADER_BYTES, 2000), st.lists(st.integers(1, 9), min_size=1))
def test_nothing_is_lost_between_batches(
    written: list[Written], size: int, strides: list[int]
) -> None:
    """What one has no room for, the next one takes; only a first record may be too large."""
    left, batches = contents(written), [RecordBatch(size)]
    for stride in cycle(strides):
        if not left:
            break
        taken = batches[-1].fill(left[:stride], AT_MS)
        left = left[taken:]
        if batches[-1].closed():
            batches.append(RecordBatch(size))
    found = []
    for batch in filter(RecordBatch.record_count, batches):
        assert batch.size() <= size or batch.record_count() == 1
        batch.close()
        batch.seal()
        found += [(r.key, r.value, list(r.headers)) for r in read(batch._build())]
    assert found == written


def test_what_repeats_itself_is_compressed_and_noise_is_not() -> None:
    """The batch says which it is, and how long it is."""
    noise = np.random.default_rng(0).bytes(1 << 20)  # more than a batch: a record of its own
    for value, codec in ((b"abc" * 1000, ZSTD), (noise, NO_CODEC)):
        batch = RecordBatch(1 << 16)
        batch.fill([(b"k", value, packed_headers([]))], AT_MS)
        plain = batch.size()
        batch.close()
        batch.seal()
        found = read(batch._build())
        assert found.compression_type == codec
        assert [record.value for record in found] == [value]
        assert (batch.size() < plain) == (codec == ZSTD)


def test_a_batch_that_is_not_sealed_does_not_leave() -> None:
    """It would leave without compression, and its sequence would be lost."""
    batch = RecordBatch(1 << 20)
    batch.fill([(b"k", b"v", packed_headers([]))], AT_MS)
    with pytest.raises(RuntimeError, match="sealed"):
        batch._set_producer_state(1, 1, 1)
    with pytest.raises(RuntimeError, match="sealed"):
        batch._build()
