"""Decodes the bytes of a dead letter: a window's readings, a document, or plain bytes.

Pure. The bytes are untrusted and were refused: no property of them is assumed.

>>> content_of(b'{"flow": 1}', None).kind
'json'
>>> print(hex_lines(b"MILLRACE was here")[0])
0000  4d 49 4c 4c 52 41 43 45 20 77 61 73 20 68 65 72  MILLRACE was her
"""

from __future__ import annotations

from typing import Any, Final, Literal

import msgspec
import numpy as np
import numpy.typing as npt

from millrace.contracts.clock import event_time
from millrace.contracts.events.event import JSON, MSGPACK
from millrace.contracts.events.normalized_window import NormalizedWindow
from millrace.contracts.events.window import SensorWindow, decode_window
from millrace.contracts.invalid_record import InvalidRecord

Kind = Literal["window", "normalised window", "json", "msgpack", "bytes", "nothing"]

#: Most bytes of a hexdump.
MOST_HEX: Final = 256
_HEX_COLUMNS: Final = 16
#: Most displayed bytes of a binary field in a document.
_MOST_INNER: Final = 32

_unpack_stamped = msgspec.msgpack.Decoder(NormalizedWindow).decode
_NOT_THAT = (msgspec.DecodeError, UnicodeDecodeError, RecursionError, ValueError)


class Content(msgspec.Struct, frozen=True):
    """Decoded content of a value.

    Attributes:
        kind: Kind of content.
        facts: Its fields besides readings, in order.
        sensors: Sensor of each column of the readings.
        readings: One row per sample, null where missing; infinities are strings.
        document: The document, if it is no window.
        hexdump: The first bytes, if it is no document.
    """

    kind: Kind
    facts: dict[str, Any] = {}
    sensors: tuple[str, ...] = ()
    readings: list[list[float | str | None]] = []
    document: Any = None
    hexdump: list[str] = []


def content_of(value: bytes, content_type: str | None) -> Content:
    """Decode a value.

    Args:
        value: The bytes.
        content_type: The media type in its header; tried first.
    """
    if not value:
        return Content("nothing")
    order = [JSON, MSGPACK] if content_type != MSGPACK else [MSGPACK, JSON]
    for media in order:
        try:
            return _window(decode_window(value, media), media)
        except (InvalidRecord, *_NOT_THAT):
            continue
    try:
        return _stamped(_unpack_stamped(value))
    except _NOT_THAT:
        pass
    for media in order:
        found = _document(value, media)
        if found is not None:
            return found
    return Content("bytes", hexdump=hex_lines(value))


def hex_lines(value: bytes) -> list[str]:
    """The first bytes, formatted as hexdump does."""
    lines = []
    for start in range(0, min(len(value), MOST_HEX), _HEX_COLUMNS):
        part = value[start : start + _HEX_COLUMNS]
        seen = "".join(chr(b) if 32 <= b < 127 else "." for b in part)  # noqa: PLR2004  (ASCII)
        lines.append(f"{start:04x}  {part.hex(' '):<{3 * _HEX_COLUMNS - 1}}  {seen}")
    return lines


def _window(window: SensorWindow, media: str) -> Content:
    return Content(
        "window",
        {
            "encoding": media,
            "asset": window.asset,
            "samples": len(window.values),
            "starts": _time(window.start_ms),
            "start_ms": window.start_ms,
            "period_seconds": _number(window.period_seconds),
            "segment": window.segment,
        },
        window.sensors,
        _rows(window.values),
    )


def _stamped(window: NormalizedWindow) -> Content:
    """A window that inference refused.

    Raises:
        ValueError: Its readings are no rows.
    """
    sensors = len(window.present)
    if sensors == 0:
        raise ValueError("no sensors")
    return Content(
        "normalised window",
        {
            "asset": window.asset,
            "model": window.model,
            "version": window.version,
            "epoch": window.epoch,
            "source": f"{window.source.topic} {window.source.partition}:{window.source.offset}",
            "starts": _time(window.start_ms),
            "ends": _time(window.end_ms),
            "segment": window.segment,
        },
        tuple(f"#{number}" for number in range(sensors)),
        _rows(window.matrix(sensors)),
    )


def _document(value: bytes, media: str) -> Content | None:
    """A document that is a list or has fields; any byte is a number in MessagePack."""
    decode = msgspec.json.decode if media == JSON else msgspec.msgpack.decode
    try:
        found = decode(value)
        if isinstance(found, dict | list):
            return Content("json" if media == JSON else "msgpack", document=_plain(found))
    except _NOT_THAT:
        pass
    return None


def _plain(part: Any) -> Any:
    """Convert a document to values that JSON can express."""
    match part:
        case dict():
            return {str(_plain(name)): _plain(inner) for name, inner in part.items()}
        case list() | tuple():
            return [_plain(inner) for inner in part]
        case bytes():
            more = " …" if len(part) > _MOST_INNER else ""
            return f"{len(part)} bytes: {part[:_MOST_INNER].hex(' ')}{more}"
        case float():
            return _number(part)
        case None | bool() | int() | str():
            return part
        case _:
            return str(part)


def _rows(values: npt.NDArray[np.float32]) -> list[list[float | str | None]]:
    return [[_reading(reading) for reading in row] for row in values.tolist()]


def _reading(reading: float) -> float | str | None:
    return None if np.isnan(reading) else _number(reading)


def _number(number: float) -> float | str:
    """A number, or its name if JSON cannot express it."""
    return number if np.isfinite(number) else str(number)


def _time(ms: int) -> str:
    try:
        return f"{event_time(ms):%Y-%m-%d %H:%M:%S} UTC"
    except (ValueError, OverflowError, OSError):
        return "no time in any calendar"
