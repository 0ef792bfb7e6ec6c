"""Reads leader epochs from logs: that of the last records, and where a larger one begins."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from typing import Final

from confluent_kafka import Message, TopicPartition

from millrace.contracts.errors import ServerError
from millrace.contracts.events.topic_epoch import NO_EPOCH, Newer
from millrace.infra.kafka.batch_end import batch_end
from millrace.infra.kafka.clients import ANSWER_SECONDS, Reader
from millrace.infra.kafka.errors import is_partition_end, is_undecompressible, raise_error
from millrace.infra.kafka.place import Place
from millrace.infra.settings import Settings

#: Offsets before a log's end among which there usually is a record; the others are transaction
#: markers.
LAST_RECORDS: Final = 64
#: How long to gather arriving records, seconds.
_POLL_SECONDS: Final = 0.02
_BATCH: Final = 500

Span = tuple[int, int]


def last_epochs(
    settings: Settings, client: Reader, spans: Mapping[Place, Span]
) -> dict[Place, int]:
    """Find the leader epoch of the last record of partitions.

    Args:
        settings: Where Kafka is.
        client: A consumer without a group, which reports the ends of partitions.
        spans: The offsets [first, end) to look at, by partition.

    Returns:
        Leader epochs; a partition without a record near the end of its span is left out.

    Raises:
        KafkaException: The broker refuses.
        ServerError: It does not answer.
    """
    begins = {
        place: max(first, end - LAST_RECORDS)
        for place, (first, end) in spans.items()
        if first < end
    }
    found: dict[Place, int] = {}
    for message in _read(settings, client, begins):
        place, offset = _place_of(message), message.offset() or 0
        if offset < spans[place][1]:
            found[place] = _epoch_of(message)
        if offset >= spans[place][1] - 1:
            begins.pop(place, None)
    return found


def first_newer(
    settings: Settings, client: Reader, place: Place, leader_epoch: int, span: Span
) -> Newer | None:
    """Find where larger leader epochs begin in a partition: they ascend along a log.

    Args:
        settings: Where Kafka is.
        client: A consumer without a group, which reports the ends of partitions.
        place: The partition.
        leader_epoch: The epoch than which they are larger.
        span: The offsets [first, end) to look at.

    Raises:
        KafkaException: The broker refuses.
        ServerError: It does not answer.
    """
    first, end = span
    newer: Newer | None = None
    while first < end:
        middle = (first + end) // 2
        message = next(_read(settings, client, {place: middle}), None)
        epoch = NO_EPOCH if message is None else _epoch_of(message)
        if epoch > leader_epoch:
            end, newer = middle, Newer(middle, epoch)
        else:
            first = middle + 1
    return newer


def _read(settings: Settings, client: Reader, begins: dict[Place, int]) -> Iterator[Message]:
    """Read partitions, each from an offset to its end, or until it is taken out of ``begins``.

    A record batch that cannot be decompressed is skipped.
    """
    client.assign([TopicPartition(*place, offset) for place, offset in begins.items()])
    heard = time.monotonic()
    while begins:
        for message in client.consume(_BATCH, _POLL_SECONDS):
            heard = time.monotonic()
            error = message.error()
            place = _place_of(message)
            if error is not None and is_partition_end(error):
                begins.pop(place, None)
                continue
            if error is not None and is_undecompressible(error):
                end = batch_end(settings, place, message.offset() or 0)
                client.seek(TopicPartition(*place, end))
                heard = time.monotonic()
                continue
            raise_error(message)
            if error is None and place in begins:
                yield message
        if time.monotonic() - heard > ANSWER_SECONDS:
            raise ServerError(f"no record of {', '.join(map(str, sorted(begins)))} arrives")


def _place_of(message: Message) -> Place:
    return Place(message.topic() or "", message.partition() or 0)


def _epoch_of(message: Message) -> int:
    """A record's leader epoch; -1 in a log that was written before Kafka had leader epochs."""
    epoch = message.leader_epoch()
    return NO_EPOCH if epoch is None else epoch
