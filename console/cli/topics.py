"""`millrace topics`: the declared topics, whether they are there, and with what settings."""

from __future__ import annotations

import msgspec
from confluent_kafka import TopicPartition

from millrace.console.terminal.output import answers, print_json, remark, table
from millrace.contracts.topics import TOPICS, Topic
from millrace.infra.kafka.clients import ANSWER_SECONDS, admin, partitions_of, reader, watermarks
from millrace.infra.local.address import settings_of_running_system
from millrace.infra.settings import Settings
from millrace.infra.topics.admin import create_topics, settings_findings, settings_of
from millrace.infra.topics.settings import CLEANUP, RETENTION, Finding, words


class TopicLine(msgspec.Struct, frozen=True):
    """A topic, as `millrace topics list` shows it.

    Attributes:
        name: Its full name.
        exists: Whether the broker has it.
        partitions: Its partitions.
        records: Offsets that are there; transactions' own marks count, too.
        kept: How long, by the broker; as declared if the topic is not there, and ``unknown`` if
            its settings may not be read.
        declared: How long, as declared.
        key: What records are keyed by.
        holds: What a record says.
        findings: Settings of the broker that break a promise, or may.
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
    """Look at all declared topics.

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


def list_topics(*, as_json: bool) -> None:
    """Print all declared topics.

    Raises:
        ServerError: Nothing runs.
    """
    lines = topic_lines(settings_of_running_system())
    if as_json:
        print_json(lines)
        return
    answers.print(
        table(
            f"{len(lines)} topics",
            ("topic", "partitions", "records", "kept", "key", "holds"),
            [
                (
                    line.name,
                    line.partitions if line.exists else "not there",
                    line.records,
                    line.kept
                    if line.kept == line.declared
                    else f"{line.kept} (declared: {line.declared})",
                    line.key,
                    line.holds,
                )
                for line in lines
            ],
        )
    )
    _remarks(lines)


def _remarks(lines: list[TopicLine]) -> None:
    """Print what is wrong with the topics' settings."""
    for line in lines:
        for finding in line.findings:
            answers.print(f"{finding.severity}: {finding}", markup=False, highlight=False)


def create_all(*, as_json: bool) -> None:
    """Create the topics that are not there.

    Raises:
        ServerError: Nothing runs, or a topic cannot be created.
    """
    settings = settings_of_running_system()
    created = create_topics(admin(settings), settings, warn=remark)
    if as_json:
        print_json({"created": created})
    else:
        answers.print(f"created {len(created)} of {len(TOPICS)} topics; the others were there")


def _declared(topic: Topic) -> str:
    kept = words(topic.retention_ms)
    return f"{kept}, compacted" if topic.compacted else kept


def _kept(topic: Topic, found: dict[str, str] | None) -> str:
    """How long a broker keeps a topic's records; what it does not say is as declared."""
    if found is None:
        return "unknown"
    policies = found.get(CLEANUP, "compact" if topic.compacted else "delete")
    kept = int(found.get(RETENTION, topic.retention_ms)) if "delete" in policies else -1
    return f"{words(kept)}, compacted" if "compact" in policies else words(kept)
