"""The declared topics: whether they exist, and their settings."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import msgspec
from confluent_kafka import TopicPartition

from millrace.contracts.errors import ServerError
from millrace.contracts.topics import TOPICS, Topic
from millrace.infra.kafka.clients import ANSWER_SECONDS, admin, partitions_of, reader, watermarks
from millrace.infra.settings import Settings
from millrace.infra.topics.admin import create_topics, settings_findings, settings_of
from millrace.infra.topics.partitions import GROWN_IN, Step, grow, partition_counts, plan
from millrace.infra.topics.settings import CLEANUP, RETENTION, Finding, words


class TopicLine(msgspec.Struct, frozen=True):
    """A topic, as `millrace topics list` shows it.

    Attributes:
        name: Its full name.
        exists: Whether the broker has it.
        partitions: Its partitions.
        records: Number of offsets, including transaction markers.
        kept: Retention in the broker; the declared one if the topic does not exist, ``unknown`` if
            its settings may not be read.
        declared: Declared retention.
        key: Meaning of the record key.
        holds: Content of a record.
        findings: Broker settings that break a guarantee, or may.
    """

    name: str
    exists: bool
    partitions: int
    records: int
    kept: str
    declared: str
    key: str
    holds: str
    findings: list[Finding] = []


def topic_lines(settings: Settings) -> list[TopicLine]:
    """Query all declared topics.

    Raises:
        ServerError: No broker answers.
    """
    asked = admin(settings)
    there = asked.list_topics(timeout=ANSWER_SECONDS).topics
    existing = [topic for topic in TOPICS if settings.named(topic.name) in there]
    found = settings_of(asked, [settings.named(topic.name) for topic in existing])
    findings = settings_findings(asked, settings, existing, found)
    client = reader(settings)
    try:
        lines = []
        for topic in TOPICS:
            name = settings.named(topic.name)
            partitions = partitions_of(client, name) if name in there else []
            bounds = [watermarks(client, TopicPartition(name, p)) for p in partitions]
            records = sum(high - low for low, high in bounds)
            lines.append(
                TopicLine(
                    name,
                    bool(partitions),
                    len(partitions),
                    records,
                    _kept(topic, found[name]) if name in found else _declared(topic),
                    _declared(topic),
                    topic.key,
                    topic.holds,
                    [finding for finding in findings if finding.topic == name],
                )
            )
        return lines
    finally:
        client.close()


def create_missing(settings: Settings, warn: Callable[[Finding], None]) -> list[str]:
    """Create the missing topics.

    Args:
        settings: Where Kafka is.
        warn: Called with each setting of an existing topic that may break a guarantee.

    Returns:
        Names of the created topics.

    Raises:
        ServerError: A topic cannot be created.
    """
    return create_topics(admin(settings), settings, warn=warn)


@dataclass(frozen=True)
class Growth:
    """More partitions for all topics keyed by asset: a plan, until `carry_out`.

    Attributes:
        settings: Where Kafka is.
        partitions: Target number of partitions of each.
        topics: Topics that are increased, in order.
    """

    settings: Settings
    partitions: int
    topics: list[Step]

    def carry_out(self) -> None:
        """Increase the partitions; idempotent, so it can be repeated after an interruption.

        Raises:
            ServerError: Kafka refuses.
        """
        client = admin(self.settings)
        for step in self.topics:
            grow(client, step)


def plan_growth(settings: Settings, partitions: int) -> Growth:
    """Plan an increase of partitions for all topics keyed by asset.

    Raises:
        ServerError: A topic is missing.
        SettingsError: A topic has more already.
    """
    counts = partition_counts(admin(settings), settings)
    missing = [settings.named(t.name) for t in GROWN_IN if settings.named(t.name) not in counts]
    if missing:
        raise ServerError(
            f"{len(missing)} of {len(TOPICS)} topics are not there ({', '.join(missing)});"
            " run `millrace topics create` first"
        )
    return Growth(settings, partitions, plan(counts, partitions))


def _declared(topic: Topic) -> str:
    kept = words(topic.retention_ms)
    return f"{kept}, compacted" if topic.compacted else kept


def _kept(topic: Topic, found: dict[str, str] | None) -> str:
    """Retention of a topic in the broker; the declared one if the broker reports none."""
    if found is None:
        return "unknown"
    policies = found.get(CLEANUP, "compact" if topic.compacted else "delete")
    kept = int(found.get(RETENTION, topic.retention_ms)) if "delete" in policies else -1
    return f"{words(kept)}, compacted" if "compact" in policies else words(kept)
