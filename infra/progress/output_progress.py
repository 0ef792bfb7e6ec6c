"""Recovers progress from the last `millrace_source_offset` header in each output partition.

A writer puts the source offset into a header of each record, and writes each partition in the
order of its source. So the last committed record of an output partition is the writer's progress,
and a batch that is processed again has no second effect. All partitions are read together,
because processing starts when the progress of all of them is known.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Final

from confluent_kafka import Consumer, TopicPartition

from millrace.contracts.errors import ServerError
from millrace.contracts.headers import SOURCE_OFFSET, RawHeaders, header
from millrace.contracts.topics import Topic
from millrace.infra.kafka.clients import OPEN_MS, reader, watermarks
from millrace.infra.kafka.errors import raise_error
from millrace.infra.kafka.message_headers import message_headers
from millrace.infra.settings import Settings

#: Records that are first read from a partition's end, and the factor by which that grows while
#: none of them has a source offset, because all are transaction markers or aborted records.
FIRST_RECORDS: Final = 64
MORE: Final = 8
#: Silence after which the broker counts as unavailable, seconds.
SILENCE_SECONDS: Final = 5.0
#: How long to gather arriving records, seconds.
_GATHER_SECONDS: Final = 0.02
_AT_ONCE: Final = 500

Span = tuple[int, int]


def last_source_offsets(
    settings: Settings, topic: Topic, partitions: Iterable[int]
) -> dict[int, int]:
    """Find the last source offset in each of an output's partitions.

    Args:
        settings: Where Kafka is.
        topic: The output topic.
        partitions: Its partitions. No process may be writing to them.

    Returns:
        The last source offset by partition; partitions without one are left out.

    Raises:
        ServerError: The broker does not answer.
        KafkaException: It refuses.
    """
    found: dict[int, int] = {}
    for partition, offsets in _backwards(settings, topic, partitions, lambda _: True):
        found.setdefault(partition, max(offsets))
    return found


def source_offsets_since(
    settings: Settings,
    topic: Topic,
    partition: int,
    first: int,
    counts: Callable[[RawHeaders], bool] = lambda _: True,
) -> set[int]:
    """Find the source records of a partition that have an output, from a given offset on.

    Args:
        settings: Where Kafka is.
        topic: The output topic.
        partition: Its partition. Records that are written to it meanwhile may be left out.
        first: The offset.
        counts: Whether an output counts, by its headers.

    Returns:
        Their source offsets, ``first`` or larger.

    Raises:
        ServerError: The broker does not answer.
        KafkaException: It refuses.
    """
    parts = _backwards(settings, topic, [partition], lambda offsets: offsets[0] < first, counts)
    return {offset for _, offsets in parts for offset in offsets if offset >= first}


def _backwards(
    settings: Settings,
    topic: Topic,
    partitions: Iterable[int],
    enough: Callable[[Sequence[int]], bool],
    counts: Callable[[RawHeaders], bool] = lambda _: True,
) -> Iterator[tuple[int, list[int]]]:
    """Read partitions backwards from their ends in growing parts, each until `enough` is true.

    Args:
        settings: Where Kafka is.
        topic: The output topic.
        partitions: Its partitions.
        enough: Whether the records before a part with these offsets need not be read.
        counts: Whether an output counts, by its headers.

    Yields:
        A partition and the source offsets of a part of it, in order; at least one.
    """
    name = settings.named(topic.name)
    client = reader(settings, {"fetch.wait.max.ms": OPEN_MS})
    try:
        unread = {p: watermarks(client, TopicPartition(name, p)) for p in partitions}
        records = FIRST_RECORDS
        while unread := {p: (low, high) for p, (low, high) in unread.items() if low < high}:
            tails = {p: (max(low, high - records), high) for p, (low, high) in unread.items()}
            found = _offsets(client, name, tails, counts)
            yield from found.items()
            unread = {
                p: (low, tails[p][0])
                for p, (low, _) in unread.items()
                if p not in found or not enough(found[p])
            }
            records *= MORE
    finally:
        client.close()


def _offsets(
    client: Consumer,
    topic: str,
    spans: Mapping[int, Span],
    counts: Callable[[RawHeaders], bool],
) -> dict[int, list[int]]:
    """Read [first, end) of each partition, and return the source offsets that count, in order."""
    places = [TopicPartition(topic, p, first) for p, (first, _) in spans.items()]
    client.assign(places)
    found: dict[int, list[int]] = {}
    reached = {p: first for p, (first, _) in spans.items()}
    heard = time.monotonic()
    while any(reached[p] < end for p, (_, end) in spans.items()):
        for message in client.consume(_AT_ONCE, timeout=_GATHER_SECONDS):
            raise_error(message)
            headers = message_headers(message) or []
            offset = header(headers, SOURCE_OFFSET)
            partition = message.partition()
            if partition is None or offset is None or not offset.isdecimal():
                continue
            if counts(headers):
                found.setdefault(partition, []).append(int(offset))
        before = dict(reached)
        for place in client.position(places):
            reached[place.partition] = max(reached[place.partition], place.offset)
        if reached != before:
            heard = time.monotonic()
        elif time.monotonic() - heard > SILENCE_SECONDS:
            raise ServerError(f"no record of {topic} arrives")
    return found
