"""Rows of a topic's records, decoded. Pure.

Each topic has the columns of its events and those of the record: partition, position, Kafka
timestamp. A record that cannot be decoded is a row, too: its other columns are null, and
`record_problem` and `record_value` have the reason and the original bytes. Windows have one row
each, with the readings as a list of rows. A dead letter is never decoded: its row has the original
key, value and headers, the reason and the origin.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final, NamedTuple

import numpy as np
import pyarrow as pa

from millrace.console.operations.archive.event_columns import MOMENT, event_columns
from millrace.contracts.clock import event_time
from millrace.contracts.events import dead_letter
from millrace.contracts.events.dead_letter import original_headers
from millrace.contracts.events.window import decode_window
from millrace.contracts.headers import content_type_of, header
from millrace.contracts.invalid_record import InvalidRecord
from millrace.contracts.topics import DEAD_LETTERS, SENSOR_WINDOWS, Topic
from millrace.contracts.wire.codec import EventReader
from millrace.contracts.wire.cut_letter import cut_of
from millrace.contracts.wire.messages import MESSAGES
from millrace.infra.archive.objects import Record

Row = dict[str, Any]
PROBLEM: Final = "record_problem"
_RAW: Final = "record_value"
_RECORD: Final = (
    pa.field("record_partition", pa.int32()),
    pa.field("record_position", pa.int64()),
    pa.field("record_timestamp", MOMENT),
)
_UNDECODED: Final = (pa.field(PROBLEM, pa.string()), pa.field(_RAW, pa.binary()))
_WINDOW: Final = (
    pa.field("window_id", pa.string()),
    pa.field("asset", pa.string()),
    pa.field("segment", pa.string()),
    pa.field("start", MOMENT),
    pa.field("period_seconds", pa.float64()),
    pa.field("sensors", pa.list_(pa.string())),
    pa.field("values", pa.list_(pa.list_(pa.float32()))),
)
_LETTER: Final = (
    pa.field("key", pa.binary()),
    pa.field("value", pa.binary()),
    pa.field("headers", pa.list_(pa.struct({"name": pa.string(), "value": pa.binary()}))),
    pa.field("reason", pa.string()),
    pa.field("detail", pa.string()),
    pa.field("origin_topic", pa.string()),
    pa.field("origin_partition", pa.int64()),
    pa.field("origin_offset", pa.int64()),
    pa.field("origin_timestamp", MOMENT),
    pa.field("whole_bytes", pa.int64()),
    pa.field("whole_object", pa.string()),
)


class TopicRows(NamedTuple):
    """How a topic's records become rows.

    Attributes:
        schema: The columns.
        decode: Decodes a record's own columns; raises `InvalidRecord` for one that is damaged.
    """

    schema: pa.Schema
    decode: Callable[[Record], Row]

    def row(self, partition: int, record: Record) -> Row:
        """Make a record's row."""
        try:
            return {**_place(partition, record), **self.decode(record)}
        except InvalidRecord as problem:
            return undecoded(partition, record, str(problem))


def rows_of(topic: Topic) -> TopicRows:
    """Find out how a topic's records become rows."""
    fields: Sequence[pa.Field]
    if topic == SENSOR_WINDOWS:
        fields, decode = _WINDOW, _window
    elif topic == DEAD_LETTERS:
        fields, decode = _LETTER, _letter
    else:
        (body,) = {message.body for message in MESSAGES if message.topic == topic}
        columns = event_columns(body)
        read = EventReader[Any](body)
        fields = [column.field for column in columns]

        def decode(record: Record) -> Row:
            event = read(record.value or b"")
            return {column.name: column.value(event) for column in columns}

    return TopicRows(pa.schema([*_RECORD, *fields, *_UNDECODED]), decode)


def undecoded(partition: int, record: Record, problem: str) -> Row:
    """Make the row of a record that has no columns of its own."""
    return {**_place(partition, record), PROBLEM: problem, _RAW: record.value}


def _place(partition: int, record: Record) -> Row:
    moment = _moment(record.timestamp_ms) if record.timestamp_ms > 0 else None
    return {
        "record_partition": partition,
        "record_position": record.offset,
        "record_timestamp": moment,
    }


def _window(record: Record) -> Row:
    window = decode_window(record.value or b"", content_type_of(record.headers))
    start = _moment(window.start_ms)
    if start is None:
        raise InvalidRecord("undecodable", f"start_ms {window.start_ms} is no moment")
    values = window.values.astype(object)
    values[np.isnan(window.values)] = None
    return {
        "window_id": window.id,
        "asset": window.asset,
        "segment": window.segment,
        "start": start,
        "period_seconds": window.period_seconds,
        "sensors": window.sensors,
        "values": values.tolist(),
    }


def _letter(record: Record) -> Row:
    headers = record.headers
    cut = cut_of(headers)
    timestamp_ms = _number(header(headers, dead_letter.TIMESTAMP))
    return {
        "key": record.key,
        "value": record.value,
        "headers": [{"name": name, "value": value} for name, value in original_headers(headers)],
        "reason": header(headers, dead_letter.REASON),
        "detail": header(headers, dead_letter.DETAIL),
        "origin_topic": header(headers, dead_letter.TOPIC),
        "origin_partition": _number(header(headers, dead_letter.PARTITION)),
        "origin_offset": _number(header(headers, dead_letter.OFFSET)),
        "origin_timestamp": None if timestamp_ms is None else _moment(timestamp_ms),
        "whole_bytes": len(record.value or b"") if cut is None else cut.size,
        "whole_object": None if cut is None else cut.key,
    }


def _moment(milliseconds: int) -> Any:
    """A moment; None if no calendar has it."""
    try:
        return event_time(milliseconds)
    except (OSError, OverflowError, ValueError):
        return None


def _number(text: str | None) -> int | None:
    return int(text) if text is not None and text.isascii() and text.isdecimal() else None
