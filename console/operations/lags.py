"""Lag of each consumer group by partition."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

import msgspec
from confluent_kafka import KafkaException

from millrace.contracts.topics import ARCHIVED, NORMALIZED, PREDICTIONS, SENSOR_WINDOWS, Topic
from millrace.contracts.wire.groups import ARCHIVER, INFERENCE, STREAM_PROCESSOR
from millrace.infra.kafka.clients import partitions_of, reader
from millrace.infra.kafka.place import Place
from millrace.infra.progress.group_offsets import GroupOffsets
from millrace.infra.settings import Settings

#: Topics that each group reads.
READ_BY: Final[Mapping[str, Sequence[Topic]]] = {
    STREAM_PROCESSOR: (SENSOR_WINDOWS, PREDICTIONS),
    INFERENCE: (NORMALIZED,),
    ARCHIVER: ARCHIVED,
}


class LagLine(msgspec.Struct, frozen=True):
    """Lag of a group in a partition.

    Attributes:
        group: The group, before the namespace.
        topic: The topic, without the namespace.
        partition: The partition.
        records: Number of unread records; see `infra.progress.group_offsets`.
    """

    group: str
    topic: str
    partition: int
    records: int


def lag_lines(settings: Settings) -> list[LagLine]:
    """Query the lag of the groups; missing topics are ignored."""
    lines = []
    client = reader(settings)
    try:
        there = client.list_topics(timeout=10.0).topics
        for group, topics in READ_BY.items():
            names = {settings.named(topic.name): topic.name for topic in topics}
            existing = [name for name in names if name in there]
            places = [Place(name, p) for name in existing for p in partitions_of(client, name)]
            asked = GroupOffsets(settings, group)
            try:
                progress = asked.progress(places) or {}
                lags = asked.lags(progress, settled=True)
            finally:
                asked.close()
            lines += [
                LagLine(group, names[place.topic], place.partition, lag)
                for place, lag in sorted(lags.items())
            ]
    except KafkaException:
        return lines  # other lines report whether Kafka answers
    finally:
        client.close()
    return lines
