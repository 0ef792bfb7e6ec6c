"""What was fetched is taken as it was written, or not at all."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import pytest
from aiokafka.consumer.fetcher import READ_COMMITTED
from aiokafka.errors import CorruptRecordException
from aiokafka.record.default_records import DefaultRecordBatchBuilder
from aiokafka.record.legacy_records import LegacyRecordBatchBuilder
from aiokafka.structs import TopicPartition
from hypothesis import given
from hypothesis import strategies as st

from millrace.stream_processors.codec.batch_header import (
    ATTRIBUTES,
    COUNTED,
    CRC,
    EPOCH,
    HEADER,
    HEADER_BYTES,
    LENGTH,
    PRODUCER,
    checksum,
)
from millrace.stream_processors.codec.packing import packed_headers
from millrace.stream_processors.codec.record_batches import RecordBatch
from millrace.stream_processors.codec.unpacking import FetchedRecord, UnreadBatch
from millrace.stream_processors.transport import fetching
from millrace.stream_processors.transport.fetching import (
    CheckedRecords,
    FetchedRecords,
    FetchResult,
)
from millrace.stream_processors.transport.leader_epochs import Change, LeaderEpochs

AT_MS = 1_700_000_000_000
#: Key of a transaction's end: version 0, type abort.
ABORT = b"\0\0\0\0"


def sealed(*values: bytes) -> bytes:
    """A record batch of these values, as it is sent."""
    batch = RecordBatch(1 << 20)
    batch.fill([(None, value, packed_headers([])) for value in values], AT_MS)
    batch.seal()
    return bytes(batch._build())


def old(value: bytes, magic: Literal[0, 1] = 1) -> bytes:
    """A record in the format before record batches."""
    batch = LegacyRecordBatchBuilder(magic=magic, compression_type=0, batch_size=1 << 10)
    batch.append(0, AT_MS, None, value)
    return bytes(batch.build())


def ended(kind: bytes) -> bytes:
    """What tells how a transaction ended, as a broker writes it."""
    batch = DefaultRecordBatchBuilder(2, 0, 1, 7, 0, 0, 1 << 10)
    batch.append(0, AT_MS, kind, b"\0" * 6, [])
    return bytes(batch.build())


def emptied(batch: bytes) -> bytes:
    """A batch whose records were compacted away."""
    fields = list(HEADER.unpack(batch[:HEADER_BYTES]))
    fields[1], fields[-1] = HEADER_BYTES - COUNTED, 0
    return HEADER.pack(*fields)


def values_of(data: bytes | None) -> list[bytes]:
    """Read all batches of what was fetched."""
    records, values = CheckedRecords(data), []
    while records.has_next():
        values += [record.value for piece in records.next_batch() for record in piece.records]
    return values


def test_all_batches_are_read() -> None:
    """Small and large, compressed and not; one that was cut off is left for the next fetch."""
    long = b"again and again " * 100
    data = sealed(b"a", b"b") + sealed(long) + sealed(b"c")
    assert values_of(data) == [b"a", b"b", long, b"c"]
    assert values_of(data[:-1]) == [b"a", b"b", long]
    assert values_of(old(b"a") + old(b"b")) == [b"a", b"b"]
    assert values_of(old(b"a", magic=0)) == [b"a"]


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
    (piece,) = records.next_batch()
    assert [record.value for record in piece.records] == [b"a", b"b"]
    with pytest.raises(CorruptRecordException):
        records.next_batch()


def fetched(
    data: bytes,
    first: int = 0,
    aborted: Sequence[tuple[int, int]] = (),
    epochs: LeaderEpochs | None = None,
) -> FetchedRecords:
    """What was fetched of a partition, from an offset on."""
    return FetchedRecords(
        epochs or LeaderEpochs(),
        TopicPartition("t", 0),
        CheckedRecords(data),
        aborted,
        first,
        None,
        None,
        True,
        READ_COMMITTED,
    )


def placed(data: bytes, first: int, *, producer: int = -1, attributes: int = 0) -> bytes:
    """A batch where the broker has put it, and of whom."""
    batch = bytearray(data)
    batch[:8] = first.to_bytes(8, "big")
    batch[PRODUCER : PRODUCER + 8] = producer.to_bytes(8, "big", signed=True)
    batch[ATTRIBUTES + 1] |= attributes
    batch[CRC : CRC + 4] = checksum(batch).to_bytes(4, "big")
    return bytes(batch)


def offsets(records: list[FetchedRecord]) -> list[int]:
    """Where they are."""
    return [record.offset for record in records]


LATER = placed(sealed(b"d", b"e"), 5)
BATCHES = placed(sealed(b"a", b"b", b"c"), 0) + LATER


@given(st.lists(st.integers(1, 6), min_size=1), st.integers(0, 6))
def test_records_are_taken_as_many_as_there_is_room_for(rooms: list[int], first: int) -> None:
    """Each once and in order, over the ends of batches, and none before where reading begins."""
    there = fetched(BATCHES if first <= 2 else LATER, first)
    expected = [offset for offset in (0, 1, 2, 5, 6) if offset >= first]
    found: list[int] = []
    for room in rooms:
        taken, was_all = there.take(room)
        assert len(taken) == room or was_all
        found += offsets(taken)
        assert found == expected[: len(found)]
        if was_all:
            assert found == expected
            assert there.next_fetch_offset == 7
            return
        assert there.next_fetch_offset == found[-1] + 1


def test_all_records_are_taken_where_there_is_no_limit() -> None:
    """At once."""
    taken, was_all = fetched(BATCHES).take(None)
    assert was_all
    assert [(r.offset, r.value) for r in taken] == [
        (0, b"a"),
        (1, b"b"),
        (2, b"c"),
        (5, b"d"),
        (6, b"e"),
    ]


def test_what_a_transaction_took_back_is_not_taken() -> None:
    """Nor how it ended, nor what a batch lost that was compacted."""
    transactional, control = 0x10, 0x20
    aborts = placed(ended(ABORT), 2, producer=7, attributes=transactional | control)
    data = (
        placed(sealed(b"a"), 0, producer=7, attributes=transactional)
        + placed(sealed(b"b"), 1, producer=8, attributes=transactional)
        + aborts
        + placed(sealed(b"c"), 3, producer=7, attributes=transactional)
        + placed(emptied(sealed(b"d")), 4)
    )
    there = fetched(data, aborted=[(7, 0)])
    taken, was_all = there.take(10)
    assert was_all
    assert [record.value for record in taken] == [b"b", b"c"]
    assert there.next_fetch_offset == 5


def test_the_fetcher_hands_out_no_changed_record() -> None:
    """What came before it is handed out."""
    changed = bytearray(FIRST + placed(OTHER, 2))
    changed[-1] ^= 1
    there = fetched(bytes(changed))
    assert offsets(there.take(2)[0]) == [0, 1]
    with pytest.raises(CorruptRecordException):
        there.take(1)


@dataclass
class State:
    """How far a partition was read, as aiokafka keeps it."""

    position: int = 0
    paused: bool = False

    def consumed_to(self, position: int) -> None:
        """Go on."""
        self.position = position


@dataclass
class Assignment:
    """The partitions that are ours: one."""

    state: State
    active: bool = True

    def state_value(self, _: TopicPartition) -> State:
        """Tell how far it was read."""
        return self.state


def result(assignment: Assignment, data: bytes) -> FetchResult:
    """What a fetch brought."""
    return FetchResult(
        TopicPartition("t", 0), assignment=assignment, partition_records=fetched(data), backoff=0
    )


def test_the_position_goes_with_what_is_taken() -> None:
    """Until all was taken; then the partition is fetched again."""
    assignment = Assignment(State())
    found = result(assignment, BATCHES)
    assert offsets(found.getall(4)) == [0, 1, 2, 5]
    assert assignment.state.position == 6
    assert found.has_more()
    one = found.getone()
    assert one is not None
    assert one.offset == 6
    assert found.has_more()
    assert found.getone() is None
    assert assignment.state.position == 7
    assert not found.has_more()


@pytest.mark.parametrize(
    "assignment",
    [
        Assignment(State(position=1)),
        Assignment(State(paused=True)),
        Assignment(State(), active=False),
    ],
)
def test_nothing_is_taken_of_a_partition_that_is_read_from_elsewhere(
    assignment: Assignment,
) -> None:
    """After a seek, a pause or a rebalance what was fetched before is forgotten."""
    found = result(assignment, BATCHES)
    before = assignment.state.position
    assert found.getall(4) == []
    assert assignment.state.position == before
    assert not found.has_more()


def test_after_a_changed_batch_all_is_fetched_again() -> None:
    """Nothing that was handed out is counted as taken, and nothing is handed out twice."""
    changed = bytearray(FIRST + placed(OTHER, 2))
    changed[-1] ^= 1
    assignment = Assignment(State())
    found = result(assignment, bytes(changed))
    with pytest.raises(CorruptRecordException):
        found.getall(4)
    assert assignment.state.position == 0
    assert found.getall(4) == []
    assert not found.has_more()


def test_an_old_record_that_is_not_as_it_was_written_is_not_taken() -> None:
    """It has a checksum of another kind."""
    changed = bytearray(old(b"c"))
    changed[-1] ^= 1
    with pytest.raises(CorruptRecordException):
        CheckedRecords(bytes(changed)).next_batch()


def test_the_length_is_where_we_look() -> None:
    """It counts what follows it."""
    assert int.from_bytes(OTHER[LENGTH:COUNTED], "big") == len(OTHER) - COUNTED


def test_leader_epochs_are_noted_where_they_change() -> None:
    """Of three batches, the second and third under another leader: one change, at the second."""
    first, second, third = (bytearray(placed(sealed(b"a", b"b"), offset)) for offset in (0, 2, 4))
    for batch, leader_epoch in ((first, 4), (second, 6), (third, 6)):
        batch[EPOCH : EPOCH + 4] = leader_epoch.to_bytes(4, "big")  # the checksum leaves it out
    epochs = LeaderEpochs()
    records, _ = fetched(bytes(first + second + third), epochs=epochs).take(None)
    assert offsets(records) == [0, 1, 2, 3, 4, 5]
    tp = TopicPartition("t", 0)
    assert epochs.upto(tp, 1) == [Change(4, 0)]
    assert epochs.upto(tp, 5) == [Change(6, 2)]


def test_an_unread_batch_stands_between_its_neighbours() -> None:
    """Reading goes on behind it; its one record has the offset of its last."""
    torn = bytearray(sealed(b"x" * 99, b"y" * 99))
    assert torn[ATTRIBUTES + 1] & 7
    torn[HEADER_BYTES + 4] ^= 0xFF
    data = placed(sealed(b"a"), 0) + placed(bytes(torn), 1) + placed(sealed(b"b"), 3)
    there = fetched(data)
    taken, was_all = there.take(10)
    assert was_all
    assert offsets(taken) == [0, 2, 3]
    unread = taken[1]
    assert isinstance(unread, UnreadBatch)
    assert (unread.first_offset, unread.problem.reason) == (1, "undecodable_batch")
    assert there.next_fetch_offset == 4


def test_no_more_is_taken_at_once_than_memory_is_meant_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """What is fetched may be much larger once it is decompressed."""
    monkeypatch.setattr(fetching, "TAKE_BYTES", 1)
    there = fetched(BATCHES)
    assert [offsets(there.take(10)[0]) for _ in range(2)] == [[0, 1, 2], [5, 6]]
    assert there.take(10) == ([], True)


def test_a_compressed_batch_of_the_old_format_is_not_read() -> None:
    """Nobody could bound it."""
    batch = LegacyRecordBatchBuilder(magic=1, compression_type=1, batch_size=1 << 10)
    batch.append(0, AT_MS, None, b"a" * 100)
    (piece,) = CheckedRecords(bytes(batch.build())).next_batch()
    (record,) = piece.records
    assert isinstance(record, UnreadBatch)
    assert record.problem.reason == "undecodable_batch"
