"""Encodes a window as a Kafka record: key, value, headers, timestamp."""

from typing import Literal, NamedTuple

from millrace.contracts.clock import event_time
from millrace.contracts.events.event import JSON, MSGPACK
from millrace.contracts.events.window import (
    PackedWindow,
    SensorWindow,
    encode_window,
    encode_window_json,
)
from millrace.contracts.headers import RawHeaders, cloud_event

Encoding = Literal["msgpack", "json"]


class Record(NamedTuple):
    """A record of `sensor.windows`.

    Attributes:
        key: The asset; None and empty keys occur only with broken devices.
        value: The window's bytes.
        headers: CloudEvents headers.
        at_ms: When the edge took it over, milliseconds UTC; Kafka's CreateTime, so that the
            time a window spends in a spool counts as latency.
    """

    key: bytes | None
    value: bytes
    headers: RawHeaders
    at_ms: int


def window_headers(window: SensorWindow, content_type: str, source: str, at_ms: int) -> RawHeaders:
    """Build a window's CloudEvents headers.

    Args:
        window: The window.
        content_type: Media type of its encoding.
        source: Which edge sends it.
        at_ms: When, milliseconds UTC.
    """
    return cloud_event(window.id, PackedWindow.TYPE, source, content_type, event_time(at_ms))


def window_record(window: SensorWindow, encoding: Encoding, source: str, at_ms: int) -> Record:
    """Encode a window.

    Args:
        window: The window.
        encoding: The encoding.
        source: Which edge sends it.
        at_ms: When, milliseconds UTC.
    """
    if encoding == "json":
        value, content_type = encode_window_json(window), JSON
    else:
        value, content_type = encode_window(window), MSGPACK
    headers = window_headers(window, content_type, source, at_ms)
    return Record(window.asset.encode(), value, headers, at_ms)
