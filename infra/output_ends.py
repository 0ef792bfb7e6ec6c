"""How far sources have been worked off, as the outputs themselves tell.

A writer puts its source offset into a header of each record, and writes a partition in the
order of its sources: the last committed record tells how far it has come. So a repeated
batch has no second effect: the output is its own memory. The ends of all partitions are
read at once, since nobody goes on before they are known.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from typing import Final

from confluent_kafka import Consumer, TopicPartition

from contracts.errors import ServerError
from contracts.headers import SOURCE_OFFSET, header
from contracts.topics import Topic
from infra.kafka import raise_error, reader, watermarks
from infra.settings import Settings

#: Records that are read from a partition's end at first, and how many times more each time
#: that none of them has a source offset but all are marks of transactions, or aborted.
FIRST_RECORDS: Final = 64
MORE: Final = 8
#: How long the broker keeps a question open that it has no records for, milliseconds. With the
#: usual 500, whoever turns to other partitions waits for the last answer about these.
OPEN_MS: Final = 10
#: How long nothing may arrive before the broker counts as away, seconds.
SILENCE_SECONDS: Final = 5.0
#: How long to gather what arrives, seconds.
_GATHER_SECONDS: Final = 0.02
_AT_ONCE: Final = 500

Span = tuple[int, int]


def last_source_offsets(
    settings: Settings, topic: Topic, partitions: Iterable[int]
) -> dict[int, int]:
    """Find how far an output's partitions have come.

    Args:
        settings: Where Kafka is.
        topic: The output.
        partitions: Its partitions. Nobody may be writing to them.

    Returns:
        The last source offset by partition; those without any are left out.

    Raises:
        ServerError: The broker does not answer.
        KafkaException: It refuses.
    """
    name = settings.named(topic.name)
    client = reader(settings, {"fetch.wait.max.ms": OPEN_MS})
    try:
        unread = {p: watermarks(client, TopicPartition(name, p)) for p in partitions}
        found: dict[int, int] = {}
        records = FIRST_RECORDS
        while unread := {p: (low, high) for p, (low, high) in unread.items() if low < high}:
            tails = {p: (max(low, high - records), high) for p, (low, high) in unread.items()}
            found |= _last(client, name, tails)
            unread = {p: (unread[p][0], tails[p][0]) for p in unread if p not in found}
            records *= MORE
        return found
    finally:
        client.close()


def _last(client: Consumer, topic: str, spans: Mapping[int, Span]) -> dict[int, int]:
    """Read [first, end) of each partition for its largest source offset."""
    places = [TopicPartition(topic, p, first) for p, (first, _) in spans.items()]
    client.assign(places)
    found: dict[int, int] = {}
    reached = {p: first for p, (first, _) in spans.items()}
    heard = time.monotonic()
    while any(reached[p] < end for p, (_, end) in spans.items()):
        for message in client.consume(_AT_ONCE, timeout=_GATHER_SECONDS):
            raise_error(message)
            offset = header(message.headers(), SOURCE_OFFSET)
            partition = message.partition()
            if partition is not None and offset is not None and offset.isdecimal():
                found[partition] = max(found.get(partition, -1), int(offset))
        before = dict(reached)
        for place in client.position(places):
            reached[place.partition] = max(reached[place.partition], place.offset)
        if reached != before:
            heard = time.monotonic()
        elif time.monotonic() - heard > SILENCE_SECONDS:
            raise ServerError(f"no record of {topic} arrives")
    return found
