"""Positions of the records of the archived partitions.

    partitions assigned, ends of their archives ─► take_over ─► start offsets
    records under another leader epoch ─► follow: is the log that was read still there?
    before objects are written ─► are_the_same: are the topic ids unchanged?

Guarantee: an object's positions name the incarnation that its records belong to. Kafka never
reuses a topic id, so records that were read between `take_over` and a positive `are_the_same`
belong to the topic that was taken over; and a log that lost its end continues under a larger
leader epoch, which `follow` detects before the first such record is buffered.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from typing import Final, NamedTuple

from millrace.contracts.errors import ServerError
from millrace.contracts.events.topic_epoch import NO_EPOCH, Lineage, parts_of, position_of
from millrace.contracts.topics import Topic
from millrace.infra.kafka.place import Place
from millrace.infra.progress.losses import tell_lost
from millrace.infra.settings import Settings
from millrace.infra.topics.epochs import TopicEpochs

_ORIGIN: Final = "/millrace/archiver"
#: Time limit of a query for topic ids while records are buffered, seconds.
_ANSWER_SECONDS: Final = 3.0


class TakenOver(NamedTuple):
    """Partitions that were taken over.

    Attributes:
        starts: Kafka offsets at which reading begins.
        expired: Kafka offsets of records that expired before they were read: the first one, and
            the one after the last.
    """

    starts: dict[Place, int]
    expired: dict[Place, tuple[int, int]]


class Incarnations:
    """Positions of the partitions that are read; owned by the archiver's thread."""

    def __init__(self, settings: Settings, group: str, topics: Mapping[str, Topic]) -> None:
        """Read `topic.epochs`.

        Args:
            settings: Where Kafka is.
            group: The archiver's consumer group, before the namespace.
            topics: The archived topics, by full name.

        Raises:
            ServerError: No broker answers, or `topic.epochs` is not there.
        """
        self._group = group
        self._topics = topics
        self._epochs = TopicEpochs(settings, _ORIGIN)
        #: Incarnation of each partition that is read, as `take_over` found it.
        self._read: dict[Place, int] = {}
        #: Largest known leader epoch of each.
        self._seen: dict[Place, int] = {}

    def near(self, place: Place, high: int) -> int:
        """Estimate the position at which a partition's archive ends.

        Args:
            place: The partition.
            high: Offset after its last record.
        """
        return position_of(self._lineage(place).incarnation, high)

    def take_over(self, ends: Mapping[Place, int]) -> TakenOver:
        """Compare logs with their archives.

        Args:
            ends: Position after the last archived record of each newly assigned partition; 0 if
                there is none.

        Returns:
            Where reading begins, and which records expired before; these are counted and logged.

        Raises:
            ServerError: No broker answers; or the archive has an incarnation that `topic.epochs`
                does not know.
            KafkaException: The broker refuses.
        """
        self._read.clear()
        self._seen.clear()
        known: dict[Topic, dict[int, int]] = defaultdict(dict)
        for place, end in ends.items():
            known[self._topics[place.topic]][place.partition] = end
        spans = self._epochs.verify_all(known) if known else {}
        starts, expired = {}, {}
        for place, end in ends.items():
            topic, lineage = self._topics[place.topic], self._lineage(place)
            incarnation, offset = parts_of(end)
            if incarnation > lineage.incarnation:
                raise ServerError(
                    f"the archive of {place} has incarnation {incarnation}, topic.epochs knows"
                    f" {lineage.incarnation}: restore topic.epochs from a copy, or choose"
                    " another MILLRACE_NAMESPACE"
                )
            low, _ = spans[topic][place.partition]
            start = lineage.start(offset, incarnation)
            if start < low:
                tell_lost(topic, self._group, place.partition, start, low)
                expired[place] = (start, low)
            starts[place] = max(start, low)
        for place in ends:
            lineage = self._lineage(place)
            self._read[place] = lineage.incarnation
            self._seen[place] = NO_EPOCH if lineage.last is None else lineage.last.leader_epoch
        return TakenOver(starts, expired)

    def follow(self, place: Place, leader_epoch: int, offset: int, read: int) -> bool:
        """Note a record's leader epoch, before the record is buffered.

        Args:
            place: The partition.
            leader_epoch: The record's leader epoch; -1 if it has none.
            offset: Its Kafka offset.
            read: Kafka offset after the previous record that was read.

        Returns:
            Whether reading may continue. If not, a partition has begun another incarnation since
            `take_over`, which must be called again.

        Raises:
            ServerError: No broker answers.
            KafkaException: It refuses.
        """
        if leader_epoch <= self._seen[place]:
            return True
        lineage, topic = self._lineage(place), self._topics[place.topic]
        known = lineage.position(read - 1) + 1 if read else 0
        self._epochs.verify(topic, {place.partition: known})
        if not self._as_taken_over():
            return False
        self._epochs.note(topic, place.partition, leader_epoch, offset)
        self._seen[place] = leader_epoch
        return self._as_taken_over()

    def are_the_same(self) -> bool:
        """Whether the topics that are read still have the ids that the lineages record.

        Raises:
            ServerError: A topic is not there, or no broker answers.
        """
        topics = {self._topics[place.topic] for place in self._read}
        if not topics:
            return True
        ids = self._epochs.ids(topics, _ANSWER_SECONDS)
        lasts = {place: self._lineage(place).last for place in self._read}
        return all(
            last is not None and last.topic_id == ids[self._topics[place.topic].name]
            for place, last in lasts.items()
        )

    def position(self, place: Place, offset: int) -> int:
        """Position of a record that was read."""
        return self._lineage(place).position(offset)

    def of(self, place: Place) -> int:
        """The present incarnation of a partition that is read."""
        return self._read[place]

    def forget(self) -> None:
        """Stop tracking all partitions."""
        self._read.clear()
        self._seen.clear()

    def close(self) -> None:
        """Close the clients."""
        self._epochs.close()

    def _as_taken_over(self) -> bool:
        """Whether all partitions still have the incarnations that `take_over` found."""
        return all(self._lineage(p).incarnation == number for p, number in self._read.items())

    def _lineage(self, place: Place) -> Lineage:
        return self._epochs.lineage(self._topics[place.topic], place.partition)
