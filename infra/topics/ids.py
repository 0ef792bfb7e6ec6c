"""Queries Kafka's topic ids: a topic that is created anew under its name has another id."""

from __future__ import annotations

import zlib
from collections.abc import Iterable
from typing import NamedTuple

from confluent_kafka import KafkaException, TopicCollection
from confluent_kafka.admin import AdminClient

from millrace.contracts.errors import ServerError
from millrace.contracts.topics import Topic
from millrace.infra.kafka.clients import ANSWER_SECONDS, ask_admin
from millrace.infra.settings import Settings


class Described(NamedTuple):
    """Kafka's present description of a topic.

    Attributes:
        id: Kafka's id, which is never reused.
        partitions: Its number of partitions.
    """

    id: str
    partitions: int


def describe_topics(
    settings: Settings, topics: Iterable[Topic], seconds: float = ANSWER_SECONDS
) -> dict[str, Described]:
    """Query topics, by name without the namespace.

    Each request has a client of its own: librdkafka 2.8 may crash the process when one client
    sees two ids of the same topic (its issue 4964).

    Args:
        settings: Where Kafka is.
        topics: The topics.
        seconds: How long the broker may take.

    Raises:
        ServerError: No broker answers, or a topic is not there.
    """
    names = {settings.named(topic.name): topic.name for topic in topics}

    def described(client: AdminClient) -> dict[str, Described]:
        found = {}
        asked = TopicCollection(list(names))
        for name, answer in client.describe_topics(asked, request_timeout=seconds).items():
            try:
                told = answer.result(2 * seconds)
            except (KafkaException, TimeoutError) as error:
                raise ServerError(f"Kafka does not describe topic {name}: {error}") from error
            found[names[name]] = Described(str(told.topic_id), len(told.partitions))
        return found

    return ask_admin(settings, described)


def member_name(
    settings: Settings, service: str, topics: Iterable[Topic], seconds: float = ANSWER_SECONDS
) -> str:
    """Name a process in its consumer group, as a static member.

    A process that was killed and restarted rejoins as the same static member at once, with its
    former partitions and without a rebalance. So the name contains a digest of the topics' ids and
    partitions: after a topic was created anew or got more partitions, the process joins as a new
    member, and all partitions are reassigned once the old member's session has timed out.

    Args:
        settings: Where Kafka is, and which replica this is.
        service: The service.
        topics: Topics of the group.
        seconds: How long the broker may take.

    Raises:
        ServerError: No broker answers, or a topic is not there.
    """
    told = sorted(describe_topics(settings, topics, seconds).items())
    return f"{service}-{settings.replica}-{zlib.crc32(repr(told).encode()):08x}"
