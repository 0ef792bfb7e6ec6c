"""The fetch thread; one file, since no other may touch aiokafka's private classes.

It delivers whole batches of committed records with low latency. aiokafka's consumer runs in its own
thread inside Faust's driver; options without a public setting are set here.
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

#: Longest wait of a fetch for data (`fetch.max.wait.ms`). A partition whose records were unread
#: when a fetch was sent is not part of it, and is only fetched after it; Faust fixes 1.5 s.
FETCH_WAIT_MS: Final = 50
#: How long a fetch waits for unread records of other partitions to be taken. After recovery, those
#: of a table's changelog are never taken, so each checkpoint costs this; aiokafka's default is 0.1.
UNREAD_SECONDS: Final = 0.01
#: Records of a changelog that are taken at once while a table is recovered: each poll has a fixed
#: cost. Their bytes are bounded by the fetch, `FETCH_BYTES` of a partition as compressed.
RECOVERY_RECORDS: Final = 20_000
#: Most bytes of records that are taken at once, plus one batch: fetched data may be much larger
#: once it is decompressed.
TAKE_BYTES: Final = 16 << 20
#: Byte offset of the attributes in the message format before record batches.
_OLD_ATTRIBUTES: Final = 17
#: Kafka's timestamp of a record without one.
_NO_TIME: Final = -1


class FetchedBatch:
    """A record batch in the fetcher's interface, which yields all its records at once."""

    def __init__(self, batch: Any, records: Callable[[], tuple[list[FetchedRecord], int]]) -> None:
        """Store aiokafka's batch, and the function that decodes its records and their size."""
        self._batch = batch
        self._records = records

    def __getattr__(self, name: str) -> Any:
        """Delegate all other attributes to aiokafka's batch."""
        return getattr(self._batch, name)

    def __iter__(self) -> Iterator[Piece]:
        """Yield its records as one piece, if it has any."""
        records, size = self._records()
        if records:
            yield Piece(records, size)

    def __next__(self) -> Any:
        """The first record: the marker, in a control batch of a transaction."""
        return next(self._batch)


class Piece(NamedTuple):
    """Records that were fetched together, and their bytes; one record to aiokafka's fetcher."""

    records: list[FetchedRecord]
    size: int

    @property
    def offset(self) -> int:
        """Offset of the last one."""
        return self.records[-1].offset


class CheckedRecords(fetcher.MemoryRecords):  # type: ignore[misc]  # untyped
    """Record batches as they were fetched; verifies each batch's checksum when it is read.

    aiokafka's own check is ten times as slow, see `checksum`.
    """

    #: Called with the leader epoch and the first offset of a batch, where the epoch changes.
    saw: Callable[[int, int], object] = staticmethod(lambda *_: None)

    def __init__(self, data: bytes | None) -> None:
        """Store the data that was fetched from a partition; None if there was none."""
        super().__init__(data or b"")
        self._leader_epoch = NO_EPOCH
        self._data = memoryview(data or b"")
        self._begin = 0

    def next_batch(self) -> Any:
        """Return the next batch.

        Raises:
            CorruptRecordException: Its checksum is wrong.
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
    """Records of the older message format, without headers and, at first, without timestamps.

    Compressed ones are not decoded, because their size cannot be bounded here. No broker since
    Kafka 4 accepts writes in this format.
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
    """Returns a partition's records in groups, as they were decoded from their batches.

    aiokafka creates two objects per record, one with all headers, one with topic, partition and
    three sizes, and makes one call for each: half the cost of reading a record.
    """

    def __init__(self, epochs: LeaderEpochs, tp: Any, records: CheckedRecords, *rest: Any) -> None:
        """Store the data that was fetched from a partition; its batches verify themselves.

        Args:
            epochs: Receives leader epochs.
            tp: The partition.
            records: The fetched batches.
            rest: Further arguments of aiokafka's class.
        """
        super().__init__(tp, records, *rest)
        records.saw = partial(epochs.saw, tp)
        self._check_crcs = False
        self._left: list[FetchedRecord] = []
        self._place = f"{tp.topic}/{tp.partition}"
        self._bytes = 0

    def take(self, most: int | None) -> tuple[list[FetchedRecord], bool]:
        """Take at most ``most`` records, and return whether there are no more.

        No further batch is decoded once they have `TAKE_BYTES`.

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
        """The records of a piece from the position on, which may lie within a batch."""
        self._bytes += piece.size
        begin = self.next_fetch_offset
        if piece.records[0].offset >= begin:
            return piece.records
        return [each for each in piece.records if each.offset >= begin]


class FetchResult(fetcher.FetchResult):  # type: ignore[misc]  # untyped
    """Fetched records of a partition that are not taken yet."""

    _partition_records: FetchedRecords | None

    def getone(self) -> FetchedRecord | None:
        """Take a record, see `getall`."""
        return next(iter(self.getall(1)), None)

    def getall(self, max_records: int | None = None) -> list[FetchedRecord]:
        """Take at most ``max_records`` records, unless the partition was revoked meanwhile.

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
    """Consumer thread: `read_committed` (predictions are transactional), with short fetch waits.

    Attributes:
        epochs: Leader epochs of the fetched batches.
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
        """Commit offsets, with the incarnation of each in its metadata."""
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
        """Take more records at once while a table is recovered."""
        most = RECOVERY_RECORDS if self.app.rebalancing else max_records
        return await super()._fetch_records(
            consumer, active_partitions, timeout=timeout, max_records=most
        )

    def place_of(self, tp: TP) -> tuple[int | None, int | None, float]:
        """Return a partition's position and high watermark; thread-safe.

        Returns:
            Offset of the next record; high watermark of the last fetch; time of that fetch.
        """
        subscription = self._ensure_consumer()._subscription.subscription
        assignment = None if subscription is None else subscription.assignment
        state = None if assignment is None else assignment.state_value(tp)
        if state is None:
            return None, None, 0.0
        told = (state.timestamp or 0) / 1000  # read first: aiokafka sets it last
        return state._position, state.highwater, told

    async def on_start(self) -> None:
        """Start, with a short wait for partitions that have unread records."""
        await super().on_start()
        self._ensure_consumer()._fetcher._prefetch_backoff = UNREAD_SECONDS
