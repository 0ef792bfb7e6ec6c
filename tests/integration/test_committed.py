"""Committed offsets on a real broker: what one client commits, another one reads."""

from __future__ import annotations

import asyncio

import aiokafka
import pytest
from aiokafka.structs import OffsetAndMetadata, TopicPartition

from millrace.contracts.events.topic_epoch import metadata_of
from millrace.contracts.topics import PREDICTIONS, SENSOR_WINDOWS
from millrace.contracts.wire.groups import STREAM_PROCESSOR
from millrace.infra.kafka.clients import admin
from millrace.infra.progress.committed import Committed, committed_offsets
from millrace.infra.settings import Settings
from millrace.infra.topics.admin import create_topics

pytestmark = pytest.mark.timeout(120)
#: Each is asked by a client of its own, whose memory others have used before.
QUESTIONS = 200


async def commit(settings: Settings, wanted: dict[TopicPartition, OffsetAndMetadata]) -> None:
    """Commit as Faust's client does."""
    client = aiokafka.AIOKafkaConsumer(
        bootstrap_servers=settings.kafka_bootstrap_servers,
        group_id=settings.named(STREAM_PROCESSOR),
        enable_auto_commit=False,
    )
    await client.start()
    try:
        client.assign(list(wanted))
        await client.commit(wanted)
    finally:
        await client.stop()


def test_incarnations_come_back_as_they_were_committed(settings: Settings) -> None:
    """However often they are asked for: no byte behind their text is read."""
    create_topics(admin(settings), settings)
    expected = {
        topic: {p: Committed(100 + p, p % 2) for p in range(settings.kafka_partitions)}
        for topic in (SENSOR_WINDOWS, PREDICTIONS)
    }
    wanted = {
        TopicPartition(settings.named(topic.name), partition): OffsetAndMetadata(
            place.offset, metadata_of(place.incarnation)
        )
        for topic, places in expected.items()
        for partition, place in places.items()
    }
    asyncio.run(commit(settings, wanted))
    for _ in range(QUESTIONS):
        assert committed_offsets(settings, STREAM_PROCESSOR, expected) == expected
