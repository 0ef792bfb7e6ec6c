"""Follows `topic.epochs`, compares it with Kafka's topics, and publishes changes.

    topic ids, log ends, leader epochs ─► new_incarnation ─► topic.epochs ─► Lineage

A consumer that takes partitions over calls `verify` first, with the position after the last record
that it has processed; a consumer that continues under another leader epoch calls it again. So the
records of a topic that was created anew, or of a log that lost its end, are never mistaken for
records that were processed already.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from functools import cached_property
from typing import Final

import structlog
from confluent_kafka import TopicPartition
from prometheus_client import Counter

from millrace.contracts.clock import now
from millrace.contracts.events.topic_epoch import (
    NO_EPOCH,
    Lineage,
    Log,
    TopicEpoch,
    new_incarnation,
    new_leader_epoch,
    parts_of,
)
from millrace.contracts.invalid_record import InvalidRecord
from millrace.contracts.topics import TOPIC_EPOCHS, Topic
from millrace.contracts.wire.codec import EventReader
from millrace.infra.kafka.clients import ANSWER_SECONDS, OPEN_MS, reader, watermarks
from millrace.infra.kafka.log_reader import LogReader
from millrace.infra.kafka.place import Place
from millrace.infra.kafka.publisher import Publisher
from millrace.infra.settings import Settings
from millrace.infra.topics.ids import describe_topics
from millrace.infra.topics.leader_epochs import Span, first_newer, last_epochs

_log = structlog.get_logger(__name__)
_INCARNATIONS: Final = Counter(
    "millrace_topic_incarnations_total",
    "Incarnations of partitions that this process has noticed",
    ["topic"],
)


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
        ids = None if topic_id is None else {topic.name: topic_id}
        return self.verify_all({topic: known}, ids)[topic]

    def verify_all(
        self, known: Mapping[Topic, Mapping[int, int]], ids: Mapping[str, str] | None = None
    ) -> dict[Topic, dict[int, Span]]:
        """Verify the logs of several topics at once, see `verify`.

        Args:
            known: Position after the last record that was processed, by topic and partition.
            ids: The topics' ids by name, if they were just queried; None to query them.

        Returns:
            First offset of each log, and the one after its last record, by topic and partition.

        Raises:
            ServerError: No broker answers.
            KafkaException: It refuses.
        """
        self.refresh()
        logs, spans = self._logs(known, self.ids(known) if ids is None else ids)
        for (topic, partition), log in logs.items():
            lineage, position = self.lineage(topic, partition), known[topic][partition]
            event = new_incarnation(lineage, topic.name, partition, position, log, now())
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
        self, known: Mapping[Topic, Mapping[int, int]], ids: Mapping[str, str]
    ) -> tuple[dict[tuple[Topic, int], Log], dict[Topic, dict[int, Span]]]:
        """Read the facts that `new_incarnation` needs, and the logs' first and end offsets."""
        places = {
            Place(self._settings.named(topic.name), partition): (topic, partition)
            for topic, partitions in known.items()
            for partition in sorted(partitions)
        }
        lasts = {place: self.lineage(*one).last for place, one in places.items()}
        client = reader(
            self._settings,
            {
                "enable.partition.eof": True,
                "isolation.level": "read_uncommitted",
                "fetch.wait.max.ms": OPEN_MS,
            },
        )
        try:
            spans = {place: watermarks(client, TopicPartition(*place)) for place in places}
            ends = last_epochs(self._settings, client, spans)
            processed: dict[Place, Span] = {}
            for place, (topic, partition) in places.items():
                last, (low, high) = lasts[place], spans[place]
                incarnation, offset = parts_of(known[topic][partition])
                if last is not None and (last.topic_id, last.incarnation) == (
                    ids[topic.name],
                    incarnation,
                ):
                    processed[place] = (low, min(offset, high))
            before = last_epochs(self._settings, client, processed)
            logs = {}
            for place, (topic, partition) in places.items():
                last = lasts[place]
                newer = None
                if last is not None and NO_EPOCH < last.leader_epoch < before.get(place, -1):
                    newer = first_newer(
                        self._settings, client, place, last.leader_epoch, processed[place]
                    )
                logs[topic, partition] = Log(
                    ids[topic.name], spans[place][1], ends.get(place, NO_EPOCH), newer
                )
        finally:
            client.close()
        by_topic: dict[Topic, dict[int, Span]] = {topic: {} for topic in known}
        for place, (topic, partition) in places.items():
            by_topic[topic][partition] = spans[place]
        return logs, by_topic
