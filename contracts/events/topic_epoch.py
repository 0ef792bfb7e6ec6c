"""Positions: Kafka offsets that stay unique when a topic is created anew or loses its end.

Kafka numbers records from 0 again after a topic was deleted and created, and reuses offsets after
an unclean leader election or the loss of a disk. A service that stored a bare offset would mistake
the new records for old ones. So services store *positions*: the number of the partition's
incarnation times `PER_INCARNATION`, plus the offset. As long as a topic is never created anew and
loses no records, its incarnation is 0, and positions equal Kafka's offsets.

Two facts that Kafka stores distinguish incarnations. A topic that was created anew has another
topic id. A log that lost its end continues under a larger leader epoch (KIP-101, KIP-320), so a
record that is known under one epoch is lost if its offset is in the log under a larger one, or
past the log's end. `topic.epochs` records both as they are observed, oldest first:

>>> from datetime import datetime, UTC
>>> at = datetime(2026, 1, 1, tzinfo=UTC)
>>> lineage = Lineage([
...     TopicEpoch("sensor.windows", 0, 0, "id-a", 4, 0, at),
...     TopicEpoch("sensor.windows", 0, 1, "id-a", 6, 400, at),  # the log lost its end
... ])
>>> lineage.position(399), lineage.position(400)
(399, 1000000000400)
>>> lineage.offset(1000000000400), lineage.offset(417)
(400, None)
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import ClassVar, Final, NamedTuple

from millrace.contracts.events.event import Event
from millrace.contracts.moment import Moment
from millrace.contracts.topics import TOPIC_EPOCHS, Topic

#: Largest number of offsets of an incarnation. Positions stay below 2**53, up to which every JSON
#: reader represents integers exactly, for nine thousand incarnations.
PER_INCARNATION: Final = 10**12
#: The leader epoch of a partition without any record.
NO_EPOCH: Final = -1
_METADATA: Final = "incarnation="
#: Terminates the metadata of a committed offset: clients built on librdkafka treat it as a C string
#: without a length, and would otherwise read beyond it.
_END: Final = "\0"


class TopicEpoch(Event, frozen=True):
    """From which offset on a partition's records belong to an incarnation and a leader epoch.

    Attributes:
        topic: The topic, without the namespace.
        partition: Its partition.
        incarnation: Number of the partition's incarnation, from 0.
        topic_id: Kafka's id of the topic.
        leader_epoch: Leader epoch of the records; -1 if there was no record yet.
        first_offset: First Kafka offset of these records.
        at: When this was seen.
        reason: Why an incarnation began; empty otherwise.
    """

    TYPE: ClassVar[str] = "millrace.topic-epoch.v1"
    TOPIC: ClassVar[Topic] = TOPIC_EPOCHS

    topic: str
    partition: int
    incarnation: int
    topic_id: str
    leader_epoch: int
    first_offset: int
    at: Moment
    reason: str = ""
    v: int = 1

    @property
    def key(self) -> str:
        """Record key."""
        return f"{self.topic}/{self.partition}/{self.incarnation}/{self.leader_epoch}"


def position_of(incarnation: int, offset: int) -> int:
    """Number a record by its incarnation and its Kafka offset."""
    return incarnation * PER_INCARNATION + offset


def parts_of(position: int) -> tuple[int, int]:
    """Split a position into the incarnation and the Kafka offset."""
    return divmod(position, PER_INCARNATION)


def metadata_of(incarnation: int) -> str:
    """Metadata of a committed offset, which names its incarnation."""
    return f"{_METADATA}{incarnation}{_END}"


def incarnation_of(metadata: str | None) -> int:
    """Parse the text of `metadata_of`; 0 if there is none.

    >>> incarnation_of(metadata_of(3)), incarnation_of("")
    (3, 0)
    """
    number = (metadata or "").removeprefix(_METADATA).partition(_END)[0]
    return int(number) if number.isdecimal() and number.isascii() else 0


class Lineage:
    """The epochs of one partition, as `topic.epochs` tells them: a fold.

    An event counts if it goes on from the one before: the next incarnation, or a larger leader
    epoch of the present one. So of two writers that saw the same thing the first counts, and
    all readers agree.
    """

    def __init__(self, epochs: Iterable[TopicEpoch] = ()) -> None:
        """Fold events, oldest first."""
        self._epochs: list[TopicEpoch] = []
        for epoch in epochs:
            self.apply(epoch)

    def apply(self, epoch: TopicEpoch) -> bool:
        """Fold one event.

        Returns:
            Whether it counts.
        """
        last = self.last
        goes_on = last is None or (
            epoch.incarnation == last.incarnation + 1
            or (
                epoch.incarnation == last.incarnation
                and epoch.topic_id == last.topic_id
                and epoch.leader_epoch > last.leader_epoch
                and epoch.first_offset >= last.first_offset
            )
        )
        if goes_on and min(epoch.incarnation, epoch.first_offset) >= 0:
            self._epochs.append(epoch)
            return True
        return False

    @property
    def last(self) -> TopicEpoch | None:
        """The latest event that counts; None before the first."""
        return self._epochs[-1] if self._epochs else None

    @property
    def incarnation(self) -> int:
        """Number of the present incarnation; 0 before the first event."""
        return self._epochs[-1].incarnation if self._epochs else 0

    @property
    def shifts(self) -> bool:
        """Whether any position differs from its offset."""
        return self.incarnation > 0

    def position(self, offset: int) -> int:
        """Position of a record that is in the log now."""
        for epoch in reversed(self._epochs):
            if epoch.topic_id != self._epochs[-1].topic_id:
                break
            if epoch.first_offset <= offset:
                return position_of(epoch.incarnation, offset)
        first = next((e for e in self._epochs if e.topic_id == self._epochs[-1].topic_id), None)
        return position_of(0 if first is None else first.incarnation, offset)

    def offset(self, position: int) -> int | None:
        """Kafka offset of a position; None if the log does not hold that record any more."""
        _, offset = parts_of(position)
        return offset if self.position(offset) == position else None

    def start(self, committed: int, incarnation: int) -> int:
        """Offset from which a group reads on.

        Args:
            committed: Kafka offset that the group has committed.
            incarnation: Incarnation in which it was committed.

        Returns:
            The committed offset, or the first one of the incarnations that came after.
        """
        later = [
            epoch.first_offset
            for epoch in self._epochs
            if epoch.topic_id == self._epochs[-1].topic_id and epoch.incarnation > incarnation
        ]
        return min([committed, *later])


class Newer(NamedTuple):
    """The first record of a log under a leader epoch that is larger than the known one."""

    offset: int
    leader_epoch: int


class Log(NamedTuple):
    """A partition as Kafka has it now.

    Attributes:
        topic_id: Kafka's id of the topic.
        end: Offset after the last record.
        last_epoch: Leader epoch of the last record; -1 if there is none.
        newer: First record under a larger leader epoch than the last known one; None if there
            is none, or if it lies after everything that is known, and so does not matter.
    """

    topic_id: str
    end: int
    last_epoch: int
    newer: Newer | None


def new_incarnation(
    lineage: Lineage, topic: str, partition: int, known: int, log: Log, at: datetime
) -> TopicEpoch | None:
    """Decide whether a partition has begun another incarnation.

    Args:
        lineage: What is known of the partition.
        topic: The topic, without the namespace.
        partition: The partition.
        known: Position after the last record that was processed; 0 if none was.
        log: The partition as Kafka has it now.
        at: Wall clock.

    Returns:
        The event to publish; None if the log is the one that is known.
    """
    incarnation, known_offset = parts_of(known)
    last = lineage.last

    def begin(number: int, first: int, leader_epoch: int, reason: str) -> TopicEpoch:
        return TopicEpoch(
            topic, partition, number, log.topic_id, leader_epoch, first, at, reason=reason
        )

    if last is None:
        if known_offset > log.end:
            why = f"{known_offset} records were processed, the log ends at {log.end}"
            return begin(incarnation + 1, 0, log.last_epoch, why)
        return begin(incarnation, 0, log.last_epoch, "")
    if log.topic_id != last.topic_id:
        why = f"the topic was created anew: its id is {log.topic_id}, it was {last.topic_id}"
        return begin(max(incarnation, last.incarnation) + 1, 0, log.last_epoch, why)
    if incarnation != last.incarnation:  # no record of the present incarnation was processed
        return None
    fork = log.end if log.newer is None else min(log.newer.offset, log.end)
    if fork >= known_offset:
        return None
    why = f"the log lost its end: {known_offset} records were processed, {fork} are left of them"
    leader_epoch = last.leader_epoch if log.newer is None else log.newer.leader_epoch
    return begin(last.incarnation + 1, fork, leader_epoch, why)


def new_leader_epoch(
    lineage: Lineage, leader_epoch: int, first_offset: int, at: datetime
) -> TopicEpoch | None:
    """Decide whether a record batch is the first one under a leader epoch.

    Args:
        lineage: What is known of its partition.
        leader_epoch: The batch's leader epoch.
        first_offset: The batch's first offset.
        at: Wall clock.

    Returns:
        The event to publish; None if the epoch is known.
    """
    last = lineage.last
    if last is None or leader_epoch <= last.leader_epoch or first_offset < last.first_offset:
        return None
    return TopicEpoch(
        last.topic, last.partition, last.incarnation, last.topic_id, leader_epoch, first_offset, at
    )
