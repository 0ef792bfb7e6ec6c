"""A sealed record batch is what aiokafka's own reader reads, and what its builder writes."""

import asyncio
from collections.abc import Iterator
from itertools import cycle
from typing import Any

import cramjam
import numpy as np
import pytest
from aiokafka.producer.message_accumulator import MessageAccumulator
from aiokafka.producer.transaction_manager import TransactionManager
from aiokafka.record._crecords.default_records import DefaultRecordBatchBuilder
from aiokafka.record.memory_records import MemoryRecords
from aiokafka.structs import TopicPartition
from hypothesis import example, given
from hypothesis import strategies as st

from millrace.contracts.headers import RawHeaders
from millrace.stream_processors.codec.batch_header import COUNTED, HEADER, HEADER_BYTES
from millrace.stream_processors.codec.packing import TABLED, Content, packed_headers
from millrace.stream_processors.codec.record_batches import NO_CODEC, ZSTD, RecordBatch

AT_MS = 1_700_000_000_000
#: Place of the codec among the fields of a header; the checksum is before it.
CODEC = 5
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
    assert batch.fill(contents(written), AT_MS) is None
    assert batch.record_count() == len(written)
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


def builder_of_aiokafka(size: int) -> DefaultRecordBatchBuilder:
    """Begin a batch of aiokafka's own, without compression."""
    return DefaultRecordBatchBuilder(
        2,
        NO_CODEC,
        is_transactional=0,
        producer_id=-1,
        producer_epoch=-1,
        base_sequence=0,
        batch_size=size,
    )


def uncompressed(batch: bytes) -> bytes:
    """A batch as it was before compression, without its checksum."""
    fields = list(HEADER.unpack_from(batch))
    records = batch[HEADER_BYTES:]
    if fields[CODEC] == ZSTD:
        records = bytes(cramjam.zstd.decompress(records))
    fields[1], fields[CODEC - 1], fields[CODEC] = HEADER_BYTES - COUNTED + len(records), 0, NO_CODEC
    return HEADER.pack(*fields) + records


@given(records, st.lists(st.integers(-(2**40), 2**40), min_size=20, max_size=20))
@example([(b"k", b"x" * (TABLED - 1), []), (b"k" * TABLED, b"x" * TABLED, [])], [0] * 20)
@example([(None, b"x" * 5 * TABLED, [("n" * TABLED, b"v" * TABLED)])], [0])
@example([(None, b"", [])] * (TABLED + 2), [0] * (TABLED + 2))
def test_it_is_what_aiokafka_writes(written: list[Written], after_ms: list[int]) -> None:
    """Byte for byte, header included, whatever a clock does."""
    theirs, ours = builder_of_aiokafka(1 << 20), RecordBatch(1 << 20)
    for place, (record, after) in enumerate(zip(written, after_ms, strict=False)):
        key, value, headers = record
        theirs.append(place, AT_MS + after, key, value, headers)
        assert ours.fill(contents([record]), AT_MS + after) is None
    ours.seal()
    expected = bytes(theirs.build())
    assert uncompressed(bytes(ours._build())) == uncompressed(expected)


@given(records, st.integers(HEADER_BYTES, 2000), st.lists(st.integers(1, 9), min_size=1))
def test_batches_end_where_those_of_aiokafka_do(
    written: list[Written], size: int, strides: list[int]
) -> None:
    """What one has no room for, the next one takes; only a first record may be too large."""
    left, batches = contents(written), [RecordBatch(size)]
    for stride in cycle(strides):
        if not left:
            break
        batch = batches[-1]
        before = batch.record_count()
        refused = batch.fill(left[:stride], AT_MS)
        left = left[batch.record_count() - before :]
        assert batch.closed() == (refused is not None)
        if refused is not None:
            assert refused == batch.fill(left, AT_MS) == left[0]
            batches.append(RecordBatch(size))
    counts, more = [0], size + 1  # its own batches leave their last byte empty
    theirs = builder_of_aiokafka(more)
    for key, value, headers in written:
        if theirs.append(counts[-1], AT_MS, key, value, headers) is None:
            theirs = builder_of_aiokafka(more)
            theirs.append(0, AT_MS, key, value, headers)
            counts.append(0)
        counts[-1] += 1
    assert [batch.record_count() for batch in batches if batch.record_count()] == counts
    found = []
    for batch in filter(RecordBatch.record_count, batches):
        batch.seal()
        found += [(r.key, r.value, list(r.headers)) for r in read(batch._build())]
    assert found == written


class OneBroker:
    """A cluster in which one broker leads every partition."""

    def leader_for_partition(self, _: TopicPartition) -> int:
        """Name it."""
        return 0


def test_aiokafka_sends_it_as_one_of_its_own() -> None:
    """Also once more, after a request that failed: with the same sequence, the same bytes."""

    async def story() -> None:
        state = TransactionManager(None, 1000)
        state.set_pid_and_epoch(7, 1)
        accumulator = MessageAccumulator(OneBroker(), 1 << 16, NO_CODEC, 30, txn_manager=state)
        place, batch = TopicPartition("t", 0), RecordBatch(1 << 16)
        batch.fill(contents([(b"k", b"v", [("n", b"1")])] * 2), AT_MS)
        batch.seal()
        delivered = await accumulator.add_batch(batch, place, 1)
        sent = []
        for _ in range(2):
            nodes, _ = accumulator.drain_by_nodes(())
            drained = nodes[0][place]
            sent.append(bytes(drained.get_data_buffer()))
            accumulator.reenqueue(drained)
        found = read(bytearray(sent[0]))
        assert (found.producer_id, found.producer_epoch, found.base_sequence) == (7, 1, 0)
        assert sent[0] == sent[1]
        assert state.sequence_number(place) == batch.record_count()
        assert not delivered.done()

    asyncio.run(story())


def test_what_repeats_itself_is_compressed_and_noise_is_not() -> None:
    """The batch says which it is, and how long it is."""
    noise = np.random.default_rng(0).bytes(1 << 20)  # more than a batch: a record of its own
    for value, codec in ((b"abc" * 1000, ZSTD), (noise, NO_CODEC)):
        batch = RecordBatch(1 << 16)
        batch.fill([(b"k", value, packed_headers([]))], AT_MS)
        plain = batch.size()
        batch.seal()
        found = read(batch._build())
        assert found.compression_type == codec
        assert [record.value for record in found] == [value]
        assert (batch.size() < plain) == (codec == ZSTD)


def test_a_record_that_cannot_be_made_leaves_nothing_behind() -> None:
    """Nor do those that were packed with it: whoever wrote them learns of the error."""

    def broken() -> Iterator[Content]:
        yield b"k", b"lost", packed_headers([])
        raise ValueError

    batch = RecordBatch(1 << 20)
    batch.fill([(b"k", b"before", packed_headers([]))], AT_MS)
    with pytest.raises(ValueError):  # noqa: PT011  (there is no other)
        batch.fill(broken(), AT_MS)
    batch.fill([(b"k", b"after", packed_headers([]))], AT_MS)
    batch.seal()
    assert [record.value for record in read(batch._build())] == [b"before", b"after"]


def test_a_batch_that_is_not_sealed_does_not_leave() -> None:
    """It has no bytes yet that could."""
    batch = RecordBatch(1 << 20)
    batch.fill([(b"k", b"v", packed_headers([]))], AT_MS)
    with pytest.raises(RuntimeError, match="sealed"):
        batch._set_producer_state(1, 1, 1)
    with pytest.raises(RuntimeError, match="sealed"):
        batch._build()
