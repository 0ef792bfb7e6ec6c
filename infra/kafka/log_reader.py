"""Reads topics without a consumer group: to their ends, over ranges of offsets, or continuously.

Nothing is committed. A service whose state is in topics reads them again after a restart, and
`LogReader.caught_up` shows when it has recovered.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from confluent_kafka import OFFSET_BEGINNING, Consumer, Message, TopicPartition

from millrace.contracts.topics import Topic
from millrace.infra.kafka.clients import partitions_of, reader, watermarks
from millrace.infra.kafka.errors import is_partition_end, raise_error
from millrace.infra.settings import Settings

#: How long the client gathers records before it returns a batch that is not full, seconds.
_GATHER_SECONDS: Final = 0.02
_BATCH: Final = 1000

Range = tuple[int, int]


class LogReader:
    """Reads every partition of some topics from a start offset; owned by one thread."""

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
            topics: The topics to read.
            starts: Offsets to start at, by partition; partitions that are not named are not read.
            more: Further settings of the client.

        Raises:
            ServerError: No broker answers, or a topic does not exist.
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
        #: Offset after the last record read of each partition. The client's own position may be
        #: past records that it has not returned yet, where it reports the ends of partitions.
        self._next = {(place.topic, place.partition): 0 for place in self._places}
        self._behind = set(self._next)
        self._client.assign(self._places)

    @property
    def caught_up(self) -> bool:
        """Whether every partition was read to its end at least once since the start."""
        return not self._behind

    def poll(self, timeout: float, batch: int = _BATCH) -> Iterator[tuple[Topic, Message]]:
        """Return the records that arrive within a time limit.

        Args:
            timeout: Seconds to wait for a first record.
            batch: Most records to return.

        Raises:
            KafkaException: The client cannot continue.
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
        """Read to the present ends of the partitions.

        Args:
            batch: Most records that are fetched from the client at once.

        Raises:
            KafkaException: The client cannot continue.
            ServerError: No broker answers.
        """
        ends: dict[tuple[str, int], int] = {}
        for place in self._places:
            low, high = watermarks(self._client, place)
            ends[place.topic, place.partition] = high if high > low else 0
        while any(self._next[place] < end for place, end in ends.items()):
            yield from self.poll(_GATHER_SECONDS, batch)

    def close(self) -> None:
        """Close the client."""
        self._client.close()


def read_all(
    settings: Settings, topic: Topic, *, isolation: str = "read_committed", batch: int = _BATCH
) -> Iterator[Message]:
    """Read a topic from its beginning to its present end.

    Records of a partition are in order; partitions are interleaved.

    Raises:
        ServerError: No broker answers, or the topic does not exist.
    """
    log = LogReader(settings, [topic], more={"isolation.level": isolation})
    try:
        for _, message in log.read_to_end(batch):
            yield message
    finally:
        log.close()


def read_ranges(client: Consumer, topic: str, ranges: Mapping[int, Range]) -> Iterator[Message]:
    """Read ranges [first, end) of offsets; offsets without a record are skipped.

    Args:
        client: A consumer without a group.
        topic: Full name.
        ranges: One for each partition that is read.

    Raises:
        KafkaException: The client cannot continue.
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
