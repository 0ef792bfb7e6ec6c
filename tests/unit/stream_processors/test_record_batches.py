"""A sealed record batch is what aiokafka's own reader reads, sequence and checksum included."""

from typing import Any

import numpy as np
import pytest
from aiokafka.record.memory_records import MemoryRecords
from hypothesis import given
from hypothesis import strategies as st

from stream_processors.record_batches import NO_CODEC, ZSTD, Content, RecordBatch

AT_MS = 1_700_000_000_000
names = st.text(max_size=8)
records = st.lists(
    st.tuples(
        st.none() | st.binary(max_size=20),
        st.binary(max_size=300),
        st.lists(st.tuples(names, st.binary(max_size=20)), max_size=4),
    ),
    min_size=1,
    max_size=20,
)


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
    written: list[Content], producer: int, epoch: int, sequence: int
) -> None:
    """Its header may be written again until it has left."""
    batch = RecordBatch(1 << 20)
    assert batch.fill(written, AT_MS) == len(written)
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


def test_what_repeats_itself_is_compressed_and_noise_is_not() -> None:
    """The batch says which it is, and how long it is."""
    noise = np.random.default_rng(0).bytes(1 << 20)  # more than a batch: a record of its own
    for value, codec in ((b"abc" * 1000, ZSTD), (noise, NO_CODEC)):
        batch = RecordBatch(1 << 16)
        batch.fill([(b"k", value, [])], AT_MS)
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
    batch.fill([(b"k", b"v", [])], AT_MS)
    with pytest.raises(RuntimeError, match="sealed"):
        batch._set_producer_state(1, 1, 1)
    with pytest.raises(RuntimeError, match="sealed"):
        batch._build()
