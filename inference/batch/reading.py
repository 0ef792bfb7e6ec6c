"""Decodes records of `sensor.windows.normalized` as windows; invalid ones become dead letters.

A redelivered window (the stream processor repeats a batch after a crash) is recognised by its
source offset: predictions of a partition are written in the order of their sources, so the last
committed one shows which windows have been predicted.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import msgspec
from confluent_kafka import Message

from millrace.contracts.events.dead_letter import dead_letter_headers
from millrace.contracts.events.normalized_window import NormalizedWindow
from millrace.contracts.headers import RawHeaders
from millrace.contracts.invalid_record import InvalidRecord
from millrace.contracts.topics import DEAD_LETTERS, NORMALIZED
from millrace.contracts.wire.cut_letter import cut_letter
from millrace.contracts.wire.sizes import record_size, takes
from millrace.inference.batch.records import Record

_unpack = msgspec.msgpack.Decoder(NormalizedWindow).decode
_pack = msgspec.msgpack.Encoder().encode


class Reading(NamedTuple):
    """A decoded micro-batch.

    Attributes:
        windows: Windows to be predicted, in order.
        refused: Dead letters of records that are no windows.
        answered: Last source offset that each partition will be predicted up to.
        repeated: Number of windows by partition that were predicted before.
        next_offsets: The offset after the last record, by partition.
    """

    windows: list[NormalizedWindow]
    refused: list[Record]
    answered: dict[int, int]
    repeated: dict[int, int]
    next_offsets: dict[int, int]


def read(arrived: Iterable[Message], answered: Mapping[int, int]) -> Reading:
    """Decode records.

    Args:
        arrived: Records, those of a partition in order.
        answered: Last source offset that each partition has been predicted up to.
    """
    windows: list[NormalizedWindow] = []
    refused: list[Record] = []
    seen = dict(answered)
    after: dict[int, int] = {}
    repeated: dict[int, int] = {}
    for message in arrived:
        partition: Any = message.partition()
        offset: Any = message.offset()
        after[partition] = offset + 1
        value = message.value()
        try:
            window = _unpack(value or b"")
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            problem = InvalidRecord("undecodable", f"not a normalised window: {error}")
            refused.append(_refused(message, partition, offset, problem))
            continue
        source = window.source
        if source.partition != partition or source.offset < 0:
            problem = InvalidRecord(
                "wrong_source", f"a record of partition {partition} cannot come from {source}"
            )
            refused.append(_refused(message, partition, offset, problem))
        elif source.offset <= seen.get(partition, -1):
            repeated[partition] = repeated.get(partition, 0) + 1
        else:
            seen[partition] = source.offset
            windows.append(window)
    return Reading(windows, refused, seen, repeated, after)


def unanswered(window: NormalizedWindow, problem: InvalidRecord) -> Record:
    """Build the dead letter of a window that no version can predict."""
    source = window.source
    headers = dead_letter_headers(
        [],
        problem,
        topic=source.topic,
        partition=source.partition,
        offset=source.offset,
        timestamp_ms=source.timestamp_ms,
    )
    return _letter(window.asset.encode(), _pack(window), headers, source.partition)


def _refused(message: Message, partition: int, offset: int, problem: InvalidRecord) -> Record:
    headers = dead_letter_headers(
        [],
        problem,
        topic=NORMALIZED.name,
        partition=partition,
        offset=offset,
        timestamp_ms=message.timestamp()[1],
    )
    return _letter(_bytes(message.key()), _bytes(message.value()) or b"", headers, partition)


def _letter(key: bytes | None, value: bytes, headers: RawHeaders, partition: int) -> Record:
    """Build a dead letter, truncated if it would be too large.

    The whole value is not stored elsewhere: a refusal here is final, and the record stays in its
    topic until retention.
    """
    if not takes(DEAD_LETTERS, record_size(key, value, headers)):
        key, value, headers = cut_letter(key, value, headers, None)
    return DEAD_LETTERS.name, key, value, headers, partition


def _bytes(data: str | bytes | None) -> bytes | None:
    return data.encode() if isinstance(data, str) else data
