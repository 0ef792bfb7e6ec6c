"""Finds the end of a record batch that cannot be decompressed, from which reading continues.

librdkafka reports the first offset of such a batch, and never advances. A fetch at any offset
within the batch returns the whole batch, so its end is found by fetching at later offsets.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final

from confluent_kafka import TopicPartition

from millrace.contracts.errors import ServerError
from millrace.contracts.topics import MAX_BATCH_BYTES
from millrace.infra.kafka.clients import ANSWER_SECONDS, Reader, reader, watermarks
from millrace.infra.kafka.errors import is_partition_end, is_undecompressible, raise_error
from millrace.infra.kafka.place import Place
from millrace.infra.settings import Settings

_POLL_SECONDS: Final = 0.2
#: A fetch returns one batch, whatever its size.
_FETCH_BYTES: Final = 1024


def search_end(first: int, high: int, inside: Callable[[int], bool]) -> int:
    """Find the offset after a batch.

    Args:
        first: First offset of the batch.
        high: Offset after the last record of the log.
        inside: Whether an offset lies within the batch.

    >>> search_end(7, 1000, lambda offset: offset < 40), search_end(7, 12, lambda _: True)
    (40, 12)
    """
    within, step = first, 1
    while within + step < high and inside(within + step):
        within, step = within + step, 2 * step
    end = min(within + step, high)
    while end - within > 1:
        middle = (within + end) // 2
        if inside(middle):
            within = middle
        else:
            end = middle
    return end


def batch_end(settings: Settings, place: Place, first: int) -> int:
    """Find the offset after a batch that cannot be decompressed, by fetching from a broker.

    Args:
        settings: Where Kafka is.
        place: The partition.
        first: First offset of the batch.

    Raises:
        ServerError: No broker answers.
        KafkaException: It refuses.
    """
    client = reader(
        settings,
        {
            "enable.partition.eof": True,
            "isolation.level": "read_uncommitted",
            "auto.offset.reset": "error",
            "max.partition.fetch.bytes": _FETCH_BYTES,
            "receive.message.max.bytes": MAX_BATCH_BYTES,
        },
    )
    try:
        _, high = watermarks(client, TopicPartition(*place))
        return search_end(first, high, lambda offset: _is_inside(client, place, first, offset))
    finally:
        client.close()


def _is_inside(client: Reader, place: Place, first: int, offset: int) -> bool:
    client.assign([TopicPartition(*place, offset)])
    patience = time.monotonic() + ANSWER_SECONDS
    while time.monotonic() < patience:
        message = client.poll(_POLL_SECONDS)
        if message is None:
            continue
        error = message.error()
        if error is None or is_partition_end(error):
            return False
        if is_undecompressible(error):
            return message.offset() == first
        raise_error(message)
    raise ServerError(f"no record of {place} arrives")
