"""The last records of a topic, and then, if wished, each new one as it comes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Final

from confluent_kafka import Consumer, Message, TopicPartition

from millrace.contracts.topics import Topic
from millrace.infra.kafka.clients import ANSWER_SECONDS, partitions_of, reader
from millrace.infra.kafka.errors import raise_error
from millrace.infra.settings import Settings

#: Records per partition that are looked at first; four times as many each further time.
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
        settings: Where Kafka is.
        topic: The topic.
        count: How many.
        wanted: Which records count.

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
            starts = {p: max(low, high - depth) for p, (low, high) in bounds.items()}
            found = [m for m in _read(client, name, starts, ends) if wanted(m)]
            if len(found) >= count or all(starts[p] == bounds[p][0] for p in bounds):
                break
            depth *= 4
        found.sort(key=lambda message: (message.timestamp()[1], message.offset() or 0))
        return found[-count:] if count else [], ends
    finally:
        client.close()


def follow_records(settings: Settings, topic: Topic, starts: dict[int, int]) -> Iterator[Message]:
    """Yield each record from some offsets on, for ever.

    Raises:
        ServerError: No broker answers, or the topic is not there.
    """
    client = reader(settings)
    try:
        name = settings.named(topic.name)
        client.assign([TopicPartition(name, p, offset) for p, offset in starts.items()])
        while True:
            message = client.poll(_POLL_SECONDS)
            if message is None:
                continue
            raise_error(message)
            if message.error() is None:
                yield message
    finally:
        client.close()


def _read(
    client: Consumer, topic: str, starts: dict[int, int], ends: dict[int, int]
) -> Iterator[Message]:
    """Read [start, end) of each partition."""
    places = [TopicPartition(topic, p, start) for p, start in starts.items() if start < ends[p]]
    client.assign(places)
    open_partitions = {place.partition for place in places}
    while open_partitions:
        for message in client.consume(1000, timeout=_POLL_SECONDS):
            raise_error(message)
            if message.error() is None and (message.offset() or 0) < ends[message.partition() or 0]:
                yield message
        for position in client.position(places):
            if position.offset >= ends[position.partition]:
                open_partitions.discard(position.partition)
