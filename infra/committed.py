"""Committed offsets of a consumer group as positions, asked by somebody who is no member."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from confluent_kafka import KafkaException, TopicPartition

from contracts.errors import ServerError
from contracts.topic_epoch import incarnation_of, position_of
from contracts.topics import Topic
from infra.kafka import ANSWER_SECONDS, consumer
from infra.settings import Settings


class Committed(NamedTuple):
    """What a group has committed of a partition.

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
    settings: Settings, group: str, topic: Topic, partitions: Iterable[int]
) -> dict[int, Committed]:
    """Ask for a group's committed offsets.

    Returns:
        Those of the partitions that have one.

    Raises:
        ServerError: The group does not answer.
    """
    name = settings.named(topic.name)
    client = consumer(settings, group, {"log_level": 0})
    try:
        found = client.committed([TopicPartition(name, p) for p in partitions], ANSWER_SECONDS)
    except KafkaException as error:
        raise ServerError(f"group {settings.named(group)} does not answer: {error}") from error
    finally:
        client.close()
    refusal = next((place.error for place in found if place.error is not None), None)
    if refusal is not None:
        raise ServerError(f"group {settings.named(group)} refuses: {refusal}")
    return {
        place.partition: Committed(place.offset, incarnation_of(place.metadata))
        for place in found
        if place.offset >= 0
    }
