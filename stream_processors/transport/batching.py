"""Faust's transport at batch granularity; one file, since it replaces one class of Faust.

Faust delivers, tracks and acknowledges one message at a time, and this overhead dominates the cost
of a record. `BatchConsumer` delivers one message per partition and poll instead, whose value is the
list of the partition's records, for changelogs as well (`recovery`); everything else (groups,
rebalancing, flow control, tables) stays Faust's.

The unit of acknowledgement is then the batch. A batch message carries the offset of its
*last* record, so acknowledging it commits all of it. That is correct because one task processes the
batches of a partition in order (later ones queue behind a deferred one) and acknowledges them in
that order, so there are no gaps. `_new_offset` and `_add_gap` rely on it.

Deferred batches (`early_predictions`) need two operations that Faust lacks. `defer` lets a
rebalance proceed without a message. `pause` stops the fetching of a partition; Faust's
`pause_partitions` loses records in flight, and is undone when a stream's buffer drains.
"""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import AsyncIterator, Collection, Mapping
from typing import Any, Final, cast

import faust
from aiokafka.errors import CorruptRecordException
from faust.transport.drivers import aiokafka as driver
from faust.types import TP
from faust.types.transports import TransportT
from faust.types.tuples import ConsumerMessage, Message
from mode.utils.futures import notify

from millrace.stream_processors.codec.unpacking import UnreadBatch
from millrace.stream_processors.transport.fetched_range import FetchedRange
from millrace.stream_processors.transport.fetching import FetchThread
from millrace.stream_processors.transport.lineages import Lineages

#: Least time after a poll that returned few records, seconds. Batches and requests to the broker
#: have a fixed cost, so at a low rate the records of this interval form one batch.
GATHER_SECONDS: Final = 0.02
#: A poll with at least this many records is followed by the next without that pause.
MANY_RECORDS: Final = 500
#: How long the fetcher waits while a stream's buffer is full: for that stream if it is the only
#: one, else for records of the others; Faust fixes 1 s for both.
FULL_SECONDS: Final = 0.005
#: Turns of the event loop that the fetcher gets between two batches: at least so many to notice a
#: response, at most so many to send the next request.
LEAST_TURNS: Final = 3
MOST_TURNS: Final = 50
#: How long a fetch waits for data of the changelogs while tables are recovered, seconds.
RECOVERY_POLL_SECONDS: Final = 0.05


class BatchConsumer(driver.Consumer):
    """Delivers a poll's records of a partition as one message."""

    _thread: FetchThread
    _next_poll = 0.0
    _hands_on = False

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._held_back: set[TP] = set()
        self._readable = FetchedRange()
        #: Offset after the last record that was read, by partition.
        self._expected: dict[TP, int] = {}

    def defer(self, message: Message) -> None:
        """Exclude an unprocessed message from those that a rebalance or a shutdown waits for.

        It may still be acknowledged later. Its offset is not committed before that, because later
        batches of its partition are not acknowledged before it.
        """
        self._unacked_messages.discard(message)
        notify(self._waiting_for_ack)

    def resume(self, message: Message) -> None:
        """Include a deferred message again: it is now being processed."""
        self._unacked_messages.add(message)

    def pause(self, tp: TP) -> None:
        """Pause the fetching of a partition; records in flight are still delivered."""
        self._held_back.add(tp)

    def unpause(self, tp: TP) -> None:
        """Resume the fetching of a paused partition."""
        self._held_back.discard(tp)

    def readable(self, tp: TP, since: float) -> range:
        """Positions of a partition that were or will be read since its assignment.

        Args:
            tp: The partition.
            since: Arrival time of the prediction, seconds since 1970; see `FetchedRange.offsets`.
        """
        _, end, told = self._thread.place_of(tp)
        offsets = self._readable.offsets(tp, end=end, told=told, since=since)
        lineage = self._lineages.of(tp)
        if not lineage.shifts:
            return offsets
        last = sys.maxsize if offsets.stop == sys.maxsize else lineage.position(offsets.stop - 1)
        return range(lineage.position(offsets.start), last + 1)

    async def perform_seek(self) -> None:
        """Seek to the committed offsets, or to the start of a later incarnation."""
        await super().perform_seek()
        self._readable.forget()
        self._expected.clear()
        for tp, start in self._lineages.starts().items():
            if tp in self.assignment():  # it may just have been revoked
                await self.seek(tp, start)
                self._committed_offset[tp] = None

    async def hand_on(self) -> None:
        """Give the fetcher the turns that it needs to send its next request, before a long step.

        Between two requests it needs some turns of the event loop to deliver the last response; how
        many depends on Faust. The next records are then fetched and parsed on the consumer's thread
        during the step, not after it.
        """
        for turn in range(MOST_TURNS):
            await asyncio.sleep(0)
            if turn >= LEAST_TURNS and not self._hands_on:
                return

    @property
    def _lineages(self) -> Lineages:
        return cast(BatchApp, self.app).lineages

    def _new_consumer_thread(self) -> driver.AIOKafkaConsumerThread:
        return FetchThread(self, loop=self.loop, beacon=self.beacon)

    async def _getmany(
        self, active_partitions: set[TP] | None, timeout: float
    ) -> Mapping[TP, list[Any]]:
        """Fetch from changelogs alone until the tables are recovered.

        Faust resumes streams, seeks, and then clears their queues: records that were fetched in
        between would be lost, since they would not be requested again.
        """
        if self._buffered_partitions or self._held_back:
            # The other partitions may be empty, and the excluded ones may soon be fetched again.
            timeout = min(timeout, FULL_SECONDS)
        if active_partitions is not None:
            active_partitions = active_partitions - self._held_back
            if self.app.rebalancing:
                changelogs = self.app.tables.changelog_topics
                active_partitions = {tp for tp in active_partitions if tp.topic in changelogs}
                timeout = min(timeout, RECOVERY_POLL_SECONDS)
            if not active_partitions:  # aiokafka treats an empty set as all partitions
                await asyncio.sleep(timeout)
                return {}
        left = self._next_poll - time.monotonic()
        if left > 0:
            await asyncio.sleep(left)
        generation = self.app.consumer_generation_id
        if not self.app.rebalancing:
            for tp in active_partitions or ():
                self._readable.before_poll(tp, self._thread.place_of(tp)[0])
        fetched: Mapping[TP, list[Any]] = await super()._getmany(active_partitions, timeout)
        if self._is_current(generation):
            for tp, records in fetched.items():
                self._readable.fetched(tp, records[0].offset)
        if sum(map(len, fetched.values())) < MANY_RECORDS:
            self._next_poll = time.monotonic() + GATHER_SECONDS
        return fetched

    async def _wait_next_records(self, timeout: float) -> Any:
        """Wait for records; returns none, after a pause, while every stream's buffer is full."""
        self._hands_on = False
        try:
            if self.flow_active and not self._get_active_partitions():
                await asyncio.sleep(FULL_SECONDS)
                return {}, set()
            return await super()._wait_next_records(timeout)
        finally:
            self._hands_on = True

    async def getmany(self, timeout: float) -> AsyncIterator[tuple[TP, ConsumerMessage]]:
        """Fetch the available records, one message per partition.

        Records of an earlier group generation are not delivered; the partition's next owner fetches
        them again.
        """
        records, active = await self._wait_next_records(timeout)
        generation = self.app.consumer_generation_id
        if records is None or self.should_stop:
            return
        if not self.flow_active:
            await self.perform_seek()
            return
        changelogs = self.app.tables.changelog_topics
        for tp, batch in records.items():
            if not (active is None or tp in active or tp in self._buffered_partitions):
                continue
            self.app.monitor.track_tp_end_offset(tp, self.highwater(tp))
            if tp.topic not in changelogs:
                await self._follow(tp, batch)
            if not self._is_current(generation):
                return
            yield tp, self._to_batch(tp, batch)
        for tp, offset in self._without_records(active or ()):
            if not self._is_current(generation):
                return
            yield tp, self._message(tp, offset, None, [])

    def _without_records(self, active: Collection[TP]) -> list[tuple[TP, int]]:
        """Last read offsets of changelogs, where they hold no record to deliver.

        A recovery ends at the last offset of its changelog. That may be a transaction marker, or a
        record that compaction has removed.
        """
        if not self.app.rebalancing:  # no table is being recovered
            return []
        changelogs = self.app.tables.changelog_topics
        found = []
        for tp in [tp for tp in active if tp.topic in changelogs]:
            position = self._thread.place_of(tp)[0]
            delivered = self._read_offset[tp]
            if position is not None and position - 1 > (-1 if delivered is None else delivered):
                found.append((tp, position - 1))
        return found

    async def _follow(self, tp: TP, batch: list[Any]) -> None:
        """Check that records continue those that were read before, and report gaps.

        Leader epochs are noted here, before any record after them is processed.
        """
        lineages = self._lineages
        first, last = batch[0].offset, batch[-1].offset
        known = self._expected.get(tp)
        if known is not None and first < known:
            await lineages.check(tp, known)
        elif known is not None and first > known + 1:  # a single offset is a transaction marker
            await lineages.expired(tp, known, first)
        for change in self._thread.epochs.upto(tp, last):
            before = [record.offset + 1 for record in batch if record.offset < change.first]
            await lineages.follow(
                tp, before[-1] if before else known or 0, change.leader_epoch, change.first
            )
        self._expected[tp] = last + 1

    def _is_current(self, generation: int) -> bool:
        """Whether records that were fetched in a group generation may still be delivered."""
        return bool(self.flow_active) and self.app.consumer_generation_id == generation

    def _to_batch(self, tp: TP, batch: list[Any]) -> ConsumerMessage:
        """Build one message from the records of a partition.

        The message has Kafka's offset; records of topics that are read carry positions from here
        on.

        Raises:
            CorruptRecordException: A changelog batch cannot be read; memory must be complete.
        """
        message = self._message(tp, batch[-1].offset, batch[-1], batch)
        if tp.topic in self.app.tables.changelog_topics:
            unread = next((each for each in batch if isinstance(each, UnreadBatch)), None)
            if unread is not None:
                raise CorruptRecordException(
                    f"{tp.topic}/{tp.partition} holds memory that cannot be read, up to offset"
                    f" {unread.offset}: {unread.problem}; look at the broker's disk"
                )
            return message
        lineage = self._lineages.of(tp)
        if lineage.shifts:
            for record in batch:
                if isinstance(record, UnreadBatch):
                    record.first_offset = lineage.position(record.first_offset)
                record.offset = lineage.position(record.offset)
        return message

    def _message(self, tp: TP, offset: int, last: Any, records: Any) -> ConsumerMessage:
        """Build one message from the records of a partition, with the offset of the last one."""
        return ConsumerMessage(
            topic=tp.topic,
            partition=tp.partition,
            offset=offset,
            timestamp=0.0 if last is None else last.timestamp / 1000.0,
            timestamp_type=0 if last is None else last.timestamp_type,
            headers=[],
            key=None,
            value=records,
            checksum=None,
            serialized_key_size=0,
            serialized_value_size=0,
            tp=tp,
            # A stream drops a message of another generation without a log entry.
            generation_id=self.app.consumer_generation_id,
        )

    def _new_offset(self, tp: TP) -> int | None:
        """Commit up to the last acknowledged batch; see the module's docstring.

        Batches of a partition, including deferred ones, are acknowledged in order, so every record
        before the last one has been processed.
        """
        acked = self._acked[tp]
        if not acked:
            return None
        last = max(acked)
        acked.clear()
        self._acked_index[tp].clear()
        return last + 1

    async def _add_gap(self, tp: TP, offset_from: int, offset_to: int) -> None:
        """Do nothing: offsets between two batches count as part of the later one."""


class BatchTransport(driver.Transport):
    """The aiokafka transport with `BatchConsumer`."""

    Consumer = BatchConsumer


class BatchApp(faust.App):
    """A Faust app whose agents receive batches, as do its tables: they must be `MemoryTable`.

    Attributes:
        lineages: Positions of the partitions that are read; set before the app starts.
    """

    lineages: Lineages

    def _new_transport(self) -> TransportT:
        return BatchTransport(self.conf.broker_consumer, self)
