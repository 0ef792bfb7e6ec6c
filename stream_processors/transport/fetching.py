"""The fetch thread; one file, since no other may touch aiokafka's private classes.

It fetches whole batches of records at once, committed ones only, promptly.
aiokafka's consumer runs in a thread of its own, with Faust's driver around it; what there is
no setting for is set here.
"""

from __future__ import annotations

import struct
from collections.abc import Awaitable, Callable, Iterator, Mapping
from functools import partial
from typing import Any, Final, NamedTuple, cast

import aiokafka
from aiokafka.consumer import fetcher
from aiokafka.errors import CorruptRecordException
from aiokafka.record.legacy_records import LegacyRecordBatch
from aiokafka.structs import OffsetAndMetadata
from faust.transport.drivers import aiokafka as driver
from faust.types import TP

from millrace.contracts.events.topic_epoch import NO_EPOCH, metadata_of
from millrace.contracts.invalid_record import InvalidRecord
from millrace.stream_processors.codec.batch_header import COUNTED, EPOCH, LENGTH, checksum
from millrace.stream_processors.codec.packing import packed_headers
from millrace.stream_processors.codec.unpacking import (
    CODEC_BITS,
    FetchedRecord,
    measured,
    unread,
)
from millrace.stream_processors.transport.leader_epochs import LeaderEpochs
from millrace.stream_processors.transport.lineages import Lineages

#: Longest wait of a fetch for data. A partition whose records were still unread when a fetch
#: was sent is not in it, and has to wait for its end; Faust fixes 1.5 s.
FETCH_WAIT_MS: Final = 50
#: How long a fetch waits for unread records of other partitions to be taken. Those of a
#: table's changelog never are, after recovery, so each checkpoint costs this; aiokafka's
#: default is 0.1.
UNREAD_SECONDS: Final = 0.01
#: Records of a changelog that are taken at once while a table is recovered: a poll has a cost of
#: its own. Their bytes are bounded by what was fetched, `FETCH_BYTES` of a partition as compressed.
RECOVERY_RECORDS: Final = 20_000
#: Bytes of records that are taken at once, at most, and those of one batch more: what is fetched
#: may be much larger once it is decompressed.
TAKE_BYTES: Final = 16 << 20
#: Place of the attributes in the format before record batches.
_OLD_ATTRIBUTES: Final = 17
#: Timestamp of a record that has none, as Kafka writes it.
_NO_TIME: Final = -1


class FetchedBatch:
    """A record batch as the fetcher takes one, whose records come all at once."""

    def __init__(self, batch: Any, records: Callable[[], tuple[list[FetchedRecord], int]]) -> None:
        """Take aiokafka's batch, and what takes out its records and tells their bytes."""
        self._batch = batch
        self._records = records

    def __getattr__(self, name: str) -> Any:
        """What the batch is but for its records."""
        return getattr(self._batch, name)

    def __iter__(self) -> Iterator[Piece]:
        """Yield its records as one piece, if it has any."""
        records, size = self._records()
        if records:
            yield Piece(records, size)

    def __next__(self) -> Any:
        """The first record, of a batch that says how a transaction ended."""
        return next(self._batch)


class Piece(NamedTuple):
    """Records that were fetched together, and their bytes; the fetcher takes it for one record."""

    records: list[FetchedRecord]
    size: int

    @property
    def offset(self) -> int:
        """Offset of the last one."""
        return self.records[-1].offset


class CheckedRecords(fetcher.MemoryRecords):  # type: ignore[misc]  # untyped
    """Record batches as they were fetched; compares each one's checksum when it is taken out.

    aiokafka's own check takes ten times as long, see `checksum`.
    """

    #: Told of the leader epoch and the first offset of a batch, where the epoch changes.
    saw: Callable[[int, int], object] = staticmethod(lambda *_: None)

    def __init__(self, data: bytes | None) -> None:
        """Take what was fetched of a partition; None where there was nothing."""
        super().__init__(data or b"")
        self._leader_epoch = NO_EPOCH
        self._data = memoryview(data or b"")
        self._begin = 0

    def next_batch(self) -> Any:
        """Take out the next batch.

        Raises:
            CorruptRecordException: It is not as it was written.
        """
        batch = super().next_batch()
        if batch is None:
            return None
        begin = self._begin
        (length,) = struct.unpack_from(">i", self._data, begin + LENGTH)
        self._begin += COUNTED + length
        whole = self._data[begin : self._begin]
        is_legacy = isinstance(batch, LegacyRecordBatch)  # the format before record batches
        if not (batch.validate_crc() if is_legacy else checksum(whole) == batch.crc):
            (first,) = struct.unpack_from(">q", whole)
            raise CorruptRecordException(
                f"the record batch at offset {first} is not as it was written: its checksum is"
                " another; it is fetched again. If that does not help, the broker's disk has"
                " changed it: look at the broker, or move the group's offset past it"
            )
        (leader_epoch,) = (NO_EPOCH,) if is_legacy else struct.unpack_from(">i", whole, EPOCH)
        if leader_epoch != self._leader_epoch:
            self._leader_epoch = leader_epoch
            self.saw(leader_epoch, batch.base_offset)
        records = partial(_of_old, batch, whole) if is_legacy else partial(measured, whole)
        return FetchedBatch(batch, records)


def _of_old(batch: Any, whole: memoryview) -> tuple[list[FetchedRecord], int]:
    """Records of the format before record batches, which had no headers, and once no times.

    Compressed ones, whose size nobody can bound here, are not taken out: no broker since Kafka 4
    lets anybody write any.
    """
    if whole[_OLD_ATTRIBUTES] & CODEC_BITS:
        last = batch.next_offset - 1
        problem = InvalidRecord(
            "undecodable_batch",
            "a batch is compressed in the message format of before Kafka 0.11; send it again with"
            " a newer client",
        )
        return [unread(bytes(whole), last, last, _NO_TIME, 1, problem)], len(whole)
    no_headers = packed_headers([])
    records = [
        FetchedRecord(
            each.offset,
            _NO_TIME if each.timestamp is None else each.timestamp,
            each.timestamp_type or 0,
            each.key,
            each.value,
            no_headers,
        )
        for each in batch
    ]
    return records, len(whole)


class FetchedRecords(fetcher.PartitionRecords):  # type: ignore[misc]  # untyped
    """Hands out a partition's records as they were taken out of their batches, many at a time.

    aiokafka makes two objects of each, all headers in the first, topic, partition and three sizes
    in the second, and asks for each by a call of its own: half of what reading a record costs.
    """

    def __init__(self, epochs: LeaderEpochs, tp: Any, records: CheckedRecords, *rest: Any) -> None:
        """Take what was fetched of a partition; its batches check themselves.

        Args:
            epochs: Takes note of leader epochs.
            tp: The partition.
            records: What was fetched.
            rest: As aiokafka has it.
        """
        super().__init__(tp, records, *rest)
        records.saw = partial(epochs.saw, tp)
        self._check_crcs = False
        self._left: list[FetchedRecord] = []
        self._place = f"{tp.topic}/{tp.partition}"
        self._bytes = 0

    def take(self, most: int | None) -> tuple[list[FetchedRecord], bool]:
        """Take records, at most so many, and tell whether there are no more.

        No further batch is taken out once they have `TAKE_BYTES`.

        Raises:
            CorruptRecordException: They are not as they were written.
        """
        taken: list[FetchedRecord] = []
        self._bytes = 0
        while (most is None or len(taken) < most) and self._bytes < TAKE_BYTES:
            try:
                left: list[FetchedRecord] = self._left or next(self, [])
            except CorruptRecordException as error:
                raise CorruptRecordException(f"{self._place}: {error}") from error
            if not left:
                return taken, True
            room = len(left) if most is None else most - len(taken)
            taken += left[:room]
            self._left = left[room:]
            self.next_fetch_offset = taken[-1].offset + 1
        return taken, False

    def _consumer_record(self, tp: Any, piece: Piece) -> list[FetchedRecord]:  # noqa: ARG002
        """What of a piece was not taken before; where reading begins may be within a batch."""
        self._bytes += piece.size
        begin = self.next_fetch_offset
        if piece.records[0].offset >= begin:
            return piece.records
        return [each for each in piece.records if each.offset >= begin]


class FetchResult(fetcher.FetchResult):  # type: ignore[misc]  # untyped
    """What a fetch brought of a partition, until it is taken."""

    _partition_records: FetchedRecords | None

    def getone(self) -> FetchedRecord | None:
        """Take a record, see `getall`."""
        return next(iter(self.getall(1)), None)

    def getall(self, max_records: int | None = None) -> list[FetchedRecord]:
        """Take records, at most so many, unless the partition has been taken away since.

        Raises:
            CorruptRecordException: They are not as they were written.
        """
        tp = self._topic_partition
        there = self._partition_records
        if there is None or not self.check_assignment(tp):
            return []
        taken: list[FetchedRecord]
        taken, was_all = there.take(max_records)
        self._update_position()
        if was_all:
            self._partition_records = None
        return taken


class FetchThread(driver.AIOKafkaConsumerThread):
    """Reads committed records only (predictions are written in transactions), and promptly.

    Attributes:
        epochs: Leader epochs of what was fetched.
    """

    epochs: LeaderEpochs

    def _create_worker_consumer(self, transport: driver.Transport) -> aiokafka.AIOKafkaConsumer:
        made = super()._create_worker_consumer(transport)
        self.epochs = LeaderEpochs()
        fetcher.MemoryRecords = CheckedRecords  # there is no setting for it
        fetcher.PartitionRecords = partial(FetchedRecords, self.epochs)
        fetcher.FetchResult = FetchResult
        made._isolation_level = "read_committed"
        made._fetch_max_wait_ms = FETCH_WAIT_MS
        made.commit = partial(self._commit_with_incarnations, made.commit)
        return made

    async def _commit_with_incarnations(
        self,
        commit: Callable[[Mapping[TP, OffsetAndMetadata]], Awaitable[None]],
        offsets: Mapping[TP, OffsetAndMetadata],
    ) -> None:
        """Commit offsets, and beside each the incarnation that it is of."""
        lineages: Lineages = cast(Any, self.consumer.app).lineages
        told = {
            tp: OffsetAndMetadata(place.offset, metadata_of(lineages.of(TP(*tp)).incarnation))
            for tp, place in offsets.items()
        }
        await commit(told)
        for tp, place in told.items():
            lineages.was_committed(TP(*tp), place.offset)

    async def _fetch_records(
        self,
        consumer: aiokafka.AIOKafkaConsumer,
        active_partitions: set[TP],
        timeout: float | None = None,
        max_records: int | None = None,
    ) -> Any:
        """Take more at once while a table is recovered."""
        most = RECOVERY_RECORDS if self.app.rebalancing else max_records
        return await super()._fetch_records(
            consumer, active_partitions, timeout=timeout, max_records=most
        )

    def place_of(self, tp: TP) -> tuple[int | None, int | None, float]:
        """Look up what is known of a partition; from any thread.

        Returns:
            Offset of the next record; the end as the last fetch told it; when that was.
        """
        subscription = self._ensure_consumer()._subscription.subscription
        assignment = None if subscription is None else subscription.assignment
        state = None if assignment is None else assignment.state_value(tp)
        if state is None:
            return None, None, 0.0
        told = (state.timestamp or 0) / 1000  # before the end, after which aiokafka writes it
        return state._position, state.highwater, told

    async def on_start(self) -> None:
        """Start, and let no partition's unread records hold up the others for long."""
        await super().on_start()
        self._ensure_consumer()._fetcher._prefetch_backoff = UNREAD_SECONDS
