"""Committed offsets of a consumer group as positions, queried by a non-member."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from typing import Final, NamedTuple

from confluent_kafka import Consumer, KafkaException, TopicPartition

from millrace.contracts.errors import ServerError
from millrace.contracts.events.topic_epoch import incarnation_of, position_of
from millrace.contracts.topics import Topic
from millrace.infra.kafka.clients import ANSWER_SECONDS, reader
from millrace.infra.kafka.errors import error_of, is_transient
from millrace.infra.settings import Settings

#: Pause between two requests to a coordinator that starts or moves, seconds.
_PAUSE_SECONDS: Final = 0.05


class Committed(NamedTuple):
    """A group's committed offset of a partition.

    Attributes:
        offset: Kafka offset of the next record.
        incarnation: Incarnation of the partition in which it was committed.
    """

    offset: int
    incarnation: int

    @property
    def position(self) -> int:
        """Position of the next record."""
        return position_of(self.incarnation, self.offset)


def committed_offsets(
    settings: Settings, group: str, places: Mapping[Topic, Iterable[int]]
) -> dict[Topic, dict[int, Committed]]:
    """Query a group's committed offsets, in one request.

    Args:
        settings: Where Kafka is.
        group: The consumer group, before the namespace.
        places: Partitions by topic.

    Returns:
        Committed offsets by topic and partition; partitions without one are left out.

    Raises:
        ServerError: The group's coordinator does not answer.
    """
    names = {settings.named(topic.name): topic for topic in places}
    asked = [TopicPartition(settings.named(t.name), p) for t, own in places.items() for p in own]
    if not asked:
        return {topic: {} for topic in places}
    client = reader(settings, {"group.id": settings.named(group), "log_level": 0})
    try:
        answers = _ask(client, asked)
    except KafkaException as error:
        raise ServerError(f"group {settings.named(group)} does not answer: {error}") from error
    finally:
        client.close()
    refusal = next((place.error for place in answers if place.error is not None), None)
    if refusal is not None:
        raise ServerError(f"group {settings.named(group)} refuses: {refusal}")
    found: dict[Topic, dict[int, Committed]] = {topic: {} for topic in places}
    for place in answers:
        if place.offset >= 0:
            committed = Committed(place.offset, incarnation_of(place.metadata))
            found[names[place.topic]][place.partition] = committed
    return found


def _ask(client: Consumer, asked: list[TopicPartition]) -> list[TopicPartition]:
    """Query the group's coordinator; retry while it starts or moves."""
    end = time.monotonic() + ANSWER_SECONDS
    while True:
        try:
            return client.committed(asked, ANSWER_SECONDS)
        except KafkaException as error:
            if not is_transient(error_of(error)) or time.monotonic() > end:
                raise
            time.sleep(_PAUSE_SECONDS)
