"""Reads the last records of a topic, and optionally follows new ones."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Final

from confluent_kafka import Message, TopicPartition

from millrace.contracts.topics import Topic
from millrace.infra.kafka.clients import ANSWER_SECONDS, partitions_of, reader
from millrace.infra.kafka.log_reader import LogReader, read_ranges
from millrace.infra.settings import Settings

#: Records per partition in the first read; each further read takes four times as many.
_FIRST_LOOK: Final = 64
_POLL_SECONDS: Final = 0.2


def last_records(
    settings: Settings,
    topic: Topic,
    count: int,
    *,
    wanted: Callable[[Message], bool] = lambda _: True,
) -> tuple[list[Message], dict[int, int]]:
    """Find the last records of a topic.

    Args:
        settings: Address of Kafka.
        topic: The topic.
        count: Number of records.
        wanted: Filter of records.

    Returns:
        At most ``count`` records, oldest first by timestamp, and the offset in each
        partition from which newer ones follow.

    Raises:
        ServerError: No broker answers, or the topic is not there.
    """
    client = reader(settings)
    name = settings.named(topic.name)
    try:
        bounds = {
            partition: client.get_watermark_offsets(
                TopicPartition(name, partition), timeout=ANSWER_SECONDS
            )
            for partition in partitions_of(client, name)
        }
        ends = {partition: high for partition, (_, high) in bounds.items()}
        found: list[Message] = []
        depth = max(_FIRST_LOOK, 2 * count)
        while count > 0:
            ranges = {p: (max(low, high - depth), high) for p, (low, high) in bounds.items()}
            found = [m for m in read_ranges(client, name, ranges) if wanted(m)]
            if len(found) >= count or ranges == bounds:
                break
            depth *= 4
        found.sort(key=lambda message: (message.timestamp()[1], message.offset() or 0))
        return found[-count:] if count else [], ends
    finally:
        client.close()


def follow_records(settings: Settings, topic: Topic, starts: dict[int, int]) -> Iterator[Message]:
    """Yield each record from the given offsets on, without end.

    Raises:
        ServerError: No broker answers, or the topic is not there.
    """
    log = LogReader(settings, [topic], starts=starts)
    try:
        while True:
            for _, message in log.poll(_POLL_SECONDS, batch=1):
                yield message
    finally:
        log.close()
