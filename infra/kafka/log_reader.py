"""Reads topics without a consumer group: to their ends, over ranges of offsets, or for ever.

Nothing is committed. Whoever keeps its state in topics reads them again after a restart, and
knows when it has caught up.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from confluent_kafka import OFFSET_BEGINNING, Consumer, Message, TopicPartition

from millrace.contracts.topics import Topic
from millrace.infra.kafka.clients import partitions_of, reader, watermarks
from millrace.infra.kafka.errors import is_partition_end, raise_error
from millrace.infra.settings import Settings

#: How long to gather what arrives, seconds: the client waits so long unless a batch is full.
_GATHER_SECONDS: Final = 0.02
_BATCH: Final = 1000

Range = tuple[int, int]


class LogReader:
    """Reads every partition of some topics from an offset on; owned by one thread."""

    def __init__(
        self,
        settings: Settings,
        topics: Sequence[Topic],
        *,
        starts: Mapping[int, int] | None = None,
        more: Mapping[str, Any] | None = None,
    ) -> None:
        """Start at the first record of every partition.

        Args:
            settings: Where Kafka is.
            topics: What is read.
            starts: Offsets to start at, by partition; partitions that are not named are not read.
            more: Settings of the client.

        Raises:
            ServerError: No broker answers, or a topic is not there.
        """
        self._client = reader(
            settings,
            {"enable.partition.eof": True, "auto.offset.reset": "earliest", **(more or {})},
        )
        self._topics = {settings.named(topic.name): topic for topic in topics}
        self._places = [
            TopicPartition(
                name, partition, OFFSET_BEGINNING if starts is None else starts[partition]
            )
            for name in self._topics
            for partition in (partitions_of(self._client, name) if starts is None else starts)
        ]
        #: Offset after what was read of each partition. The client's own position may be past
        #: records that it has not handed out yet, where it reports the ends of partitions.
        self._next = {(place.topic, place.partition): 0 for place in self._places}
        self._behind = set(self._next)
        self._client.assign(self._places)

    @property
    def caught_up(self) -> bool:
        """Whether every partition has been read to an end that it had since the start."""
        return not self._behind

    def poll(self, timeout: float, batch: int = _BATCH) -> Iterator[tuple[Topic, Message]]:
        """Read what arrives within a time.

        Args:
            timeout: Seconds to wait for a first record.
            batch: Most records to return.

        Raises:
            KafkaException: The client cannot go on.
        """
        for message in self._client.consume(batch, timeout):
            error = message.error()
            place = message.topic() or "", message.partition() or 0
            if error is not None and is_partition_end(error):
                self._behind.discard(place)
                self._next[place] = max(self._next[place], message.offset() or 0)
                continue
            raise_error(message)
            if error is None:
                self._next[place] = (message.offset() or 0) + 1
                yield self._topics[place[0]], message

    def read_to_end(self, batch: int = _BATCH) -> Iterator[tuple[Topic, Message]]:
        """Read to the ends that the partitions have now.

        Args:
            batch: Most records that are fetched from the client at once.

        Raises:
            KafkaException: The client cannot go on.
            ServerError: No broker answers.
        """
        ends: dict[tuple[str, int], int] = {}
        for place in self._places:
            low, high = watermarks(self._client, place)
            ends[place.topic, place.partition] = high if high > low else 0
        while any(self._next[place] < end for place, end in ends.items()):
            yield from self.poll(_GATHER_SECONDS, batch)

    def close(self) -> None:
        """Leave the broker."""
        self._client.close()


def read_all(
    settings: Settings, topic: Topic, *, isolation: str = "read_committed", batch: int = _BATCH
) -> Iterator[Message]:
    """Read a topic from its beginning to the end that it has now.

    Records of a partition come in order; partitions are interleaved.

    Raises:
        ServerError: No broker answers, or the topic is not there.
    """
    log = LogReader(settings, [topic], more={"isolation.level": isolation})
    try:
        for _, message in log.read_to_end(batch):
            yield message
    finally:
        log.close()


def read_ranges(client: Consumer, topic: str, ranges: Mapping[int, Range]) -> Iterator[Message]:
    """Read ranges [first, end) of offsets; offsets without a record are passed over.

    Args:
        client: A consumer without a group.
        topic: Full name.
        ranges: One for each partition that is read.

    Raises:
        KafkaException: The client cannot go on.
    """
    places = [TopicPartition(topic, p, first) for p, (first, end) in ranges.items() if first < end]
    client.assign(places)
    while any(at.offset < ranges[at.partition][1] for at in client.position(places)):
        for message in client.consume(_BATCH, timeout=_GATHER_SECONDS):
            raise_error(message)
            if (
                message.error() is None
                and (message.offset() or 0) < ranges[message.partition() or 0][1]
            ):
                yield message
    client.unassign()
