"""Positions of the records in the assigned partitions.

    partitions assigned ─► take_over: are the logs those that were processed? ─► start offsets
    records under another leader epoch ─► follow: is the log before them still there?

A log other than the one that was processed starts a new incarnation (`topic_epoch`). If this is
detected while the log is read, the process ends, and the restarted process reads the partition from
the first record of the new incarnation.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Final, NamedTuple, NoReturn

import structlog
from confluent_kafka import KafkaException
from faust.types import TP

from millrace.contracts.errors import ServerError
from millrace.contracts.events.topic_epoch import Lineage, parts_of
from millrace.contracts.topics import DEAD_LETTERS, NORMALIZED, PREDICTIONS, SENSOR_WINDOWS
from millrace.contracts.wire.groups import STREAM_PROCESSOR
from millrace.infra.kafka.clients import first_offset
from millrace.infra.progress.committed import Committed, committed_offsets
from millrace.infra.progress.losses import tell_lost
from millrace.infra.progress.output_progress import last_source_offsets
from millrace.infra.settings import Settings
from millrace.infra.topics.epochs import TopicEpochs

_ORIGIN: Final = "/millrace/stream-processor"
_log = structlog.get_logger(__name__)
#: Topics that are read.
READ: Final = (SENSOR_WINDOWS, PREDICTIONS)
#: How often topics are checked for having been recreated, seconds.
LOOK_SECONDS: Final = 5.0
#: How long, and how often, requests to an unavailable broker are retried, seconds.
PATIENCE_SECONDS: Final = 30.0
PAUSE_SECONDS: Final = 0.2


class Ends(NamedTuple):
    """Progress of a partition of `sensor.windows` at its assignment.

    Attributes:
        written: By output topic, the position of the last record with an output there.
        committed: Committed position of the group; 0 if there is none.
    """

    written: Mapping[str, int]
    committed: int

    @property
    def next(self) -> int:
        """Next unprocessed position; lower ones are redeliveries.

        Outputs expire, so after a long idle time only the committed offset may be left.
        """
        return max(self.committed, *(last + 1 for last in self.written.values()), 0)


class Lineages:
    """Positions of the partitions that are read; owned by the event loop."""

    def __init__(self, settings: Settings, give_up: Callable[[str], NoReturn]) -> None:
        """Store the settings; connects later.

        Args:
            settings: Where Kafka is.
            give_up: Ends the process.
        """
        self._settings = settings
        self._give_up = give_up
        self._topics = {settings.named(topic.name): topic for topic in READ}
        self._epochs: TopicEpochs | None = None
        self._ids: Mapping[str, str] = {}
        self._committed: dict[TP, Committed] = {}
        self._ends: dict[int, Ends] = {}
        #: Offset after the last record that an earlier process has processed.
        self._known: dict[TP, int] = {}
        self._turn = asyncio.Lock()

    async def take_over(self, partitions: Iterable[TP]) -> None:
        """Verify that the logs of partitions are those that were processed before.

        Args:
            partitions: All that are now assigned; those of other topics are ignored.
        """
        ours: dict[str, list[int]] = defaultdict(list)
        for tp in partitions:
            if tp.topic in self._topics:
                ours[tp.topic].append(tp.partition)
        async with self._turn:
            await self._patiently(lambda: self._take_over(ours))

    async def follow(self, tp: TP, known: int, leader_epoch: int, first_offset: int) -> None:
        """Handle a new leader epoch, before its first record is delivered.

        Args:
            tp: The partition.
            known: Offset after the last record that was read before.
            leader_epoch: The epoch.
            first_offset: First offset of its first record batch that was read.
        """
        last = self.of(tp).last
        if last is None or leader_epoch <= last.leader_epoch:
            return
        topic, partition = self._topics[tp.topic], tp.partition
        incarnation = last.incarnation
        await self.check(tp, known)
        async with self._turn:
            await self._patiently(
                lambda: self._known_epochs().note(topic, partition, leader_epoch, first_offset)
            )
        if self.of(tp).incarnation != incarnation:
            self._give_up(f"{tp.topic}/{tp.partition} has begun another incarnation")

    async def check(self, tp: TP, known: int) -> None:
        """Verify that the log of a partition still contains the records that were read from it.

        Args:
            tp: The partition.
            known: Offset after the last record that was read.
        """
        lineage, topic = self.of(tp), self._topics[tp.topic]
        before = lineage.incarnation
        known = max(known, self._known.get(tp, 0))
        known_position = lineage.position(known - 1) + 1 if known else 0
        async with self._turn:
            await self._patiently(
                lambda: self._known_epochs().verify(topic, {tp.partition: known_position})
            )
        if lineage.incarnation != before:
            self._give_up(f"{tp.topic}/{tp.partition} has begun another incarnation")

    async def expired(self, tp: TP, expected: int, first: int) -> None:
        """Report records that expired before they were read, if there are any.

        Args:
            tp: The partition.
            expected: Offset of the record that was expected next.
            first: Offset of the record that arrived.
        """
        topic = self._topics[tp.topic]
        if topic is SENSOR_WINDOWS:  # the other one has gaps, at transaction markers
            low = await asyncio.to_thread(first_offset, self._settings, topic, tp.partition)
            if low > expected:
                tell_lost(topic, STREAM_PROCESSOR, tp.partition, expected, min(low, first))

    async def look(self) -> None:
        """End the process if a topic that is read was deleted and recreated."""
        if not self._ids:
            return
        async with self._turn:
            try:
                found = await asyncio.to_thread(self._known_epochs().ids, READ)
            except ServerError as error:  # it is unavailable, or the topic is just being recreated
                _log.info("topics not looked at", why=str(error))
                return
        if found != self._ids:
            self._give_up("a topic was created anew")

    def of(self, tp: TP) -> Lineage:
        """The lineage of a partition that is read."""
        return self._known_epochs().lineage(self._topics[tp.topic], tp.partition)

    def ends(self, partition: int) -> Ends:
        """Progress of a partition of `sensor.windows` at its assignment."""
        return self._ends[partition]

    def has_taken(self, partitions: Collection[int]) -> bool:
        """Whether partitions of `sensor.windows` are taken over."""
        return self._ends.keys() >= set(partitions)

    def release(self) -> None:
        """Drop the progress of all partitions, because of a rebalance."""
        self._ends.clear()

    def starts(self) -> dict[TP, int]:
        """Start offsets of those partitions that do not start at their committed offset."""
        found = {tp: self.of(tp).start(*place) for tp, place in self._committed.items()}
        return {tp: start for tp, start in found.items() if start != self._committed[tp].offset}

    def was_committed(self, tp: TP, offset: int) -> None:
        """Record a committed offset of the present incarnation."""
        if tp.topic in self._topics:
            self._committed[tp] = Committed(offset, self.of(tp).incarnation)

    def _known_epochs(self) -> TopicEpochs:
        if self._epochs is None:
            raise RuntimeError("no partition was taken over yet")
        return self._epochs

    def _take_over(self, ours: Mapping[str, list[int]]) -> None:
        """Query the broker; blocks, so it runs on a separate thread."""
        if self._epochs is None:
            self._epochs = TopicEpochs(self._settings, _ORIGIN)
        ends: dict[int, Ends] = {}
        self._committed.clear()
        self._known.clear()
        self._ids = self._epochs.ids(READ)
        owned = {self._topics[name]: partitions for name, partitions in ours.items()}
        group = committed_offsets(self._settings, STREAM_PROCESSOR, owned)
        for topic, partitions in owned.items():
            committed = group[topic]
            known = {p: committed[p].position if p in committed else 0 for p in partitions}
            if topic is SENSOR_WINDOWS:
                ends = self._ends_of(known)
                known = {partition: end.next for partition, end in ends.items()}
            spans = self._epochs.verify(topic, known, self._ids[topic.name])
            name = self._settings.named(topic.name)
            for partition, place in committed.items():
                lineage = self._epochs.lineage(topic, partition)
                start, low = lineage.start(*place), spans[partition][0]
                if start < low:
                    tell_lost(topic, STREAM_PROCESSOR, partition, start, low)
                self._committed[TP(name, partition)] = place
            for partition, position in known.items():
                incarnation, offset = parts_of(position)
                if incarnation == self._epochs.lineage(topic, partition).incarnation:
                    self._known[TP(name, partition)] = offset
        self._ends = ends

    def _ends_of(self, committed: Mapping[int, int]) -> dict[int, Ends]:
        """Read the last source offsets in the outputs, by partition of `sensor.windows`."""
        written = {
            topic.name: last_source_offsets(self._settings, topic, committed)
            for topic in (NORMALIZED, DEAD_LETTERS)
        }
        return {
            partition: Ends(
                {name: lasts[partition] for name, lasts in written.items() if partition in lasts},
                position,
            )
            for partition, position in committed.items()
        }

    async def _patiently(self, ask: Callable[[], object]) -> None:
        """Query the broker on a thread; retry for `PATIENCE_SECONDS` while it is unavailable."""
        loop = asyncio.get_running_loop()
        end = loop.time() + PATIENCE_SECONDS
        while True:
            try:
                await asyncio.to_thread(ask)
            except (ServerError, KafkaException) as error:
                if loop.time() > end:
                    raise
                _log.warning("the broker is asked again", why=str(error))
                await asyncio.sleep(PAUSE_SECONDS)
            else:
                return
