"""`millrace topics`: the declared topics, and whether they are there."""

from __future__ import annotations

import msgspec
from confluent_kafka import TopicPartition

from console.address import settings_of_running_system
from console.output import answers, print_json, table
from contracts.topics import DAY_MS, FOREVER, TOPICS, Topic
from infra.kafka import ANSWER_SECONDS, admin, partitions_of, reader
from infra.settings import Settings
from infra.topic_admin import create_topics


class TopicLine(msgspec.Struct, frozen=True):
    """A topic, as `millrace topics list` shows it.

    Attributes:
        name: Its full name.
        exists: Whether the broker has it.
        partitions: Its partitions.
        records: Offsets that are there; transactions' own marks count, too.
        kept: How long.
        key: What records are keyed by.
        holds: What a record says.
    """

    name: str
    exists: bool
    partitions: int
    records: int
    kept: str
    key: str
    holds: str


def topic_lines(settings: Settings) -> list[TopicLine]:
    """Look at all declared topics.

    Raises:
        ServerError: No broker answers.
    """
    there = admin(settings).list_topics(timeout=ANSWER_SECONDS).topics
    client = reader(settings)
    try:
        lines = []
        for topic in TOPICS:
            name = settings.named(topic.name)
            partitions = partitions_of(client, name) if name in there else []
            bounds = [
                client.get_watermark_offsets(TopicPartition(name, p), timeout=ANSWER_SECONDS)
                for p in partitions
            ]
            records = sum(high - low for low, high in bounds)
            lines.append(
                TopicLine(
                    name,
                    bool(partitions),
                    len(partitions),
                    records,
                    _kept(topic),
                    topic.key,
                    topic.holds,
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
                    line.kept,
                    line.key,
                    line.holds,
                )
                for line in lines
            ],
        )
    )


def create_all(*, as_json: bool) -> None:
    """Create the topics that are not there.

    Raises:
        ServerError: Nothing runs, or a topic cannot be created.
    """
    settings = settings_of_running_system()
    created = create_topics(admin(settings), settings)
    if as_json:
        print_json({"created": created})
    else:
        answers.print(f"created {len(created)} of {len(TOPICS)} topics; the others were there")


def _kept(topic: Topic) -> str:
    if topic.retention_ms == FOREVER:
        return "forever, compacted" if topic.compacted else "forever"
    return f"{topic.retention_ms / DAY_MS:g} days"
