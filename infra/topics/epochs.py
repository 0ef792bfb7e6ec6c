"""Follows `topic.epochs`, compares it with Kafka's topics, and publishes changes.

    topic ids, log ends, leader epochs ─► new_incarnation ─► topic.epochs ─► Lineage

A consumer that takes partitions over calls `verify` first, with the position after the last record
that it has processed; a consumer that continues under another leader epoch calls it again. So the
records of a topic that was created anew, or of a log that lost its end, are never mistaken for
records that were processed already.
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from functools import cached_property
from typing import Final

import structlog
from confluent_kafka import (
    Message,
    TopicPartition,
)
from prometheus_client import Counter

from millrace.contracts.clock import now
from millrace.contracts.errors import ServerError
from millrace.contracts.events.topic_epoch import (
    NO_EPOCH,
    Lineage,
    Log,
    Newer,
    TopicEpoch,
    new_incarnation,
    new_leader_epoch,
    parts_of,
)
from millrace.contracts.invalid_record import InvalidRecord
from millrace.contracts.topics import TOPIC_EPOCHS, Topic
from millrace.contracts.wire.codec import EventReader
from millrace.infra.kafka.batch_end import batch_end
from millrace.infra.kafka.clients import ANSWER_SECONDS, OPEN_MS, Reader, reader, watermarks
from millrace.infra.kafka.errors import is_partition_end, is_undecompressible, raise_error
from millrace.infra.kafka.log_reader import LogReader
from millrace.infra.kafka.place import Place
from millrace.infra.kafka.publisher import Publisher
from millrace.infra.settings import Settings
from millrace.infra.topics.ids import describe_topics

_log = structlog.get_logger(__name__)
_INCARNATIONS: Final = Counter(
    "millrace_topic_incarnations_total",
    "Incarnations of partitions that this process has noticed",
    ["topic"],
)
#: Offsets before a log's end among which there usually is a record; the others are transaction
#: markers.
LAST_RECORDS: Final = 64
#: How long to gather arriving records, seconds.
_POLL_SECONDS: Final = 0.02
_BATCH: Final = 500

Span = tuple[int, int]


class TopicEpochs:
    """The lineages of all partitions; owned by one thread at a time."""

    def __init__(self, settings: Settings, source: str) -> None:
        """Read `topic.epochs` from its beginning.

        Args:
            settings: Where Kafka is.
            source: CloudEvents source, for example ``/millrace/archiver``.

        Raises:
            ServerError: No broker answers, or the topic does not exist.
        """
        self._settings = settings
        self._lineages: dict[tuple[str, int], Lineage] = defaultdict(Lineage)
        self._read = EventReader[TopicEpoch](TopicEpoch)
        self._source = source
        self._log = LogReader(settings, [TOPIC_EPOCHS])
        self.refresh()

    @cached_property
    def _publisher(self) -> Publisher:
        return Publisher(self._settings, self._source)

    def lineage(self, topic: Topic, partition: int) -> Lineage:
        """The known lineage of a partition; updated by `refresh`."""
        return self._lineages[topic.name, partition]

    def offset(self, topic: str, partition: int, position: int) -> int | None:
        """Kafka offset of a position in a topic, without the namespace; None if gone."""
        return self._lineages[topic, partition].offset(position)

    def refresh(self) -> None:
        """Fold the events up to the present end.

        Raises:
            ServerError: No broker answers.
        """
        for _, message in self._log.read_to_end():
            self._fold(message.value() or b"", message.offset() or 0)

    def ids(self, topics: Iterable[Topic], seconds: float = ANSWER_SECONDS) -> dict[str, str]:
        """Query Kafka's ids of topics, by name without the namespace.

        Args:
            topics: The topics.
            seconds: How long the broker may take.

        Raises:
            ServerError: No broker answers, or a topic does not exist.
        """
        found = describe_topics(self._settings, topics, seconds)
        return {name: described.id for name, described in found.items()}

    def verify(
        self, topic: Topic, known: Mapping[int, int], topic_id: str | None = None
    ) -> dict[int, Span]:
        """Verify that the logs of partitions are those that were processed.

        Where one is not, its next incarnation begins, with a warning.

        Args:
            topic: The topic.
            known: Position after the last record that was processed, by partition; 0 for none.
            topic_id: The topic's id if it was just queried; None to query it.

        Returns:
            First offset of each log, and the one after its last record.

        Raises:
            ServerError: No broker answers.
            KafkaException: It refuses.
        """
        self.refresh()
        if topic_id is None:
            topic_id = self.ids([topic])[topic.name]
        logs, spans = self._logs(topic, topic_id, known)
        for partition, log in sorted(logs.items()):
            lineage = self.lineage(topic, partition)
            event = new_incarnation(lineage, topic.name, partition, known[partition], log, now())
            if event is None:
                continue
            if event.reason:
                _INCARNATIONS.labels(topic.name).inc()
                _log.warning(
                    "a partition begins another incarnation",
                    topic=topic.name,
                    partition=partition,
                    incarnation=event.incarnation,
                    first_offset=event.first_offset,
                    why=event.reason,
                )
            self._publisher.send(event)
        self.refresh()
        return spans

    def note(self, topic: Topic, partition: int, leader_epoch: int, first_offset: int) -> None:
        """Publish that records from an offset on have another leader epoch.

        Call it before any output of these records is confirmed, and after `verify`, which checks
        that the log before them is still there.

        Raises:
            ServerError: The event could not be published.
        """
        event = new_leader_epoch(self.lineage(topic, partition), leader_epoch, first_offset, now())
        if event is not None:
            self._publisher.send(event)
            self.refresh()

    def close(self) -> None:
        """Close the clients."""
        self._log.close()

    def _fold(self, value: bytes, offset: int) -> None:
        try:
            event = self._read(value)
        except InvalidRecord as problem:
            _log.warning("topic epoch ignored", offset=offset, why=str(problem))
            return
        self._lineages[event.topic, event.partition].apply(event)

    def _logs(
        self, topic: Topic, topic_id: str, known: Mapping[int, int]
    ) -> tuple[dict[int, Log], dict[int, Span]]:
        """Read the facts that `new_incarnation` needs, and the logs' first and end offsets."""
        name = self._settings.named(topic.name)
        client = reader(
            self._settings,
            {
                "enable.partition.eof": True,
                "isolation.level": "read_uncommitted",
                "fetch.wait.max.ms": OPEN_MS,
            },
        )
        try:
            spans = {p: watermarks(client, TopicPartition(name, p)) for p in known}
            lasts = _last_epochs(self._settings, client, name, spans)
            processed: dict[int, Span] = {}
            for partition, (low, high) in spans.items():
                last = self.lineage(topic, partition).last
                incarnation, offset = parts_of(known[partition])
                if last is not None and (last.topic_id, last.incarnation) == (
                    topic_id,
                    incarnation,
                ):
                    processed[partition] = (low, min(offset, high))
            before = _last_epochs(self._settings, client, name, processed)
            logs = {}
            for partition, (_, high) in spans.items():
                last = self.lineage(topic, partition).last
                newer = None
                if last is not None and NO_EPOCH < last.leader_epoch < before.get(partition, -1):
                    span = processed[partition]
                    newer = _first_newer(
                        self._settings, client, name, partition, last.leader_epoch, span
                    )
                logs[partition] = Log(topic_id, high, lasts.get(partition, NO_EPOCH), newer)
            return logs, spans
        finally:
            client.close()


def _last_epochs(
    settings: Settings, client: Reader, name: str, spans: Mapping[int, Span]
) -> dict[int, int]:
    """Leader epoch of the last record in [first, end) of partitions that have one near the end."""
    begins = {p: max(first, end - LAST_RECORDS) for p, (first, end) in spans.items() if first < end}
    found: dict[int, int] = {}
    for message in _read(settings, client, name, begins):
        partition, offset = message.partition() or 0, message.offset() or 0
        if offset < spans[partition][1]:
            found[partition] = _epoch_of(message)
        if offset >= spans[partition][1] - 1:
            begins.pop(partition, None)
    return found


def _first_newer(
    settings: Settings, client: Reader, name: str, partition: int, leader_epoch: int, span: Span
) -> Newer | None:
    """Find where larger leader epochs begin in [first, end): they ascend along a log."""
    first, end = span
    newer: Newer | None = None
    while first < end:
        middle = (first + end) // 2
        begins = {partition: middle}
        message = next(_read(settings, client, name, begins), None)
        epoch = NO_EPOCH if message is None else _epoch_of(message)
        if epoch > leader_epoch:
            end, newer = middle, Newer(middle, epoch)
        else:
            first = middle + 1
    return newer


def _read(
    settings: Settings, client: Reader, name: str, begins: dict[int, int]
) -> Iterator[Message]:
    """Read partitions, each from an offset to its end, or until it is taken out of ``begins``.

    A record batch that cannot be decompressed is skipped.
    """
    client.assign([TopicPartition(name, p, offset) for p, offset in begins.items()])
    heard = time.monotonic()
    while begins:
        for message in client.consume(_BATCH, _POLL_SECONDS):
            heard = time.monotonic()
            error = message.error()
            partition = message.partition() or 0
            if error is not None and is_partition_end(error):
                begins.pop(partition, None)
                continue
            if error is not None and is_undecompressible(error):
                end = batch_end(settings, Place(name, partition), message.offset() or 0)
                client.seek(TopicPartition(name, partition, end))
                heard = time.monotonic()
                continue
            raise_error(message)
            if error is None and partition in begins:
                yield message
        if time.monotonic() - heard > ANSWER_SECONDS:
            raise ServerError(f"no record of {name} arrives")


def _epoch_of(message: Message) -> int:
    """A record's leader epoch; -1 in a log that was written before Kafka had leader epochs."""
    epoch = message.leader_epoch()
    return NO_EPOCH if epoch is None else epoch
