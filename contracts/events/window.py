"""A window as the edge sends it; one file, since its two encodings must agree.

MessagePack carries the readings as little-endian float32 bytes (about ten times cheaper
to code than text) and is what our producers send; plain JSON is accepted from any device.
The ``content-type`` header tells them apart (`contracts.headers.content_type_of`).

>>> import numpy as np
>>> window = SensorWindow("pump-1", ("flow",), 0, 1.0, np.array([[1.0], [np.nan]], "f4"))
>>> decode_window(encode_window(window), MSGPACK).values.tolist()
[[1.0], [nan]]
>>> encode_window_json(window)[-43:]
b'"values":[[1.0],[null]],"segment":"","v":1}'
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import ClassVar, Final

import msgspec
import numpy as np
import numpy.typing as npt

from millrace.contracts.events.event import JSON, MSGPACK, Event
from millrace.contracts.ids import window_id
from millrace.contracts.invalid_record import InvalidRecord
from millrace.contracts.model_spec import sensor_set_id
from millrace.contracts.names import MAX_SENSORS, name_problem
from millrace.contracts.topics import SENSOR_WINDOWS, Topic

VERSION: Final = 1

Float32 = npt.NDArray[np.float32]


class SensorWindow(msgspec.Struct, frozen=True, eq=False):
    """Consecutive readings of one asset.

    Attributes:
        asset: The machine that was measured; the record's key.
        sensors: Sensor names, in column order.
        start_ms: Event time of the first sample, milliseconds UTC.
        period_seconds: Time between samples.
        values: float32 of shape (samples, sensors), physical units, NaN where missing.
        segment: Names an uninterrupted stretch of recording; a forecast is only compared
            with readings of its own segment. Empty where the source has none.
    """

    asset: str
    sensors: tuple[str, ...]
    start_ms: int
    period_seconds: float
    values: Float32
    segment: str = ""

    @property
    def id(self) -> str:
        """Deterministic id: the same measurement sent twice has the same id."""
        return window_id(self.asset, self.sensor_set, self.start_ms, self.segment)

    @property
    def sensor_set(self) -> str:
        """Id of the sensor set, by which a model is found."""
        return sensor_set_id(self.sensors, self.period_seconds, len(self.values))

    @property
    def end_ms(self) -> int:
        """Event time one period after the last sample: where a forecast begins."""
        return self.start_ms + round(len(self.values) * self.period_seconds * 1000)


class PackedWindow(Event, frozen=True):
    """MessagePack form: readings as one block of bytes.

    Attributes:
        values: Binary: little-endian float32, row by row (samples x sensors), NaN if missing.
        v: Schema version.
    """

    TYPE: ClassVar[str] = "millrace.window.v1"
    TOPIC: ClassVar[Topic] = SENSOR_WINDOWS
    CONTENT_TYPE: ClassVar[str] = MSGPACK

    asset: str
    sensors: tuple[str, ...]
    start_ms: int
    period_seconds: float
    values: bytes
    segment: str = ""
    v: int = VERSION


class PlainWindow(Event, frozen=True):
    """JSON form: readings as rows of numbers.

    Attributes:
        values: One row per sample, one number per sensor, null where missing.
        v: Schema version.
    """

    TYPE: ClassVar[str] = "millrace.window.v1"
    TOPIC: ClassVar[Topic] = SENSOR_WINDOWS
    SCHEMA: ClassVar[str] = "window_json"

    asset: str
    sensors: tuple[str, ...]
    start_ms: int
    period_seconds: float
    values: list[list[float | None]]
    segment: str = ""
    v: int = VERSION


class WindowBody(msgspec.Struct, gc=False):
    """A window that is read, its readings not looked at yet: what a batch is made of.

    Attributes:
        sensors: Sensor names, still encoded; `Layout` has them.
        values: Little-endian float32, row by row (samples x sensors), NaN if missing.
    """

    asset: str
    sensors: msgspec.Raw
    start_ms: int
    period_seconds: float
    values: bytes
    segment: str = ""
    v: int = VERSION


@dataclass(frozen=True)
class Layout:
    """What windows of one sensor set have in common.

    Attributes:
        sensors: Sensor names, in column order.
        period_seconds: Time between samples.
        samples: Samples in a window.
    """

    sensors: tuple[str, ...]
    period_seconds: float
    samples: int

    @cached_property
    def sensor_set(self) -> str:
        """Id of the sensor set, by which a model is found."""
        return sensor_set_id(self.sensors, self.period_seconds, self.samples)


_pack = msgspec.msgpack.Encoder().encode
_unpack = msgspec.msgpack.Decoder(WindowBody).decode
_print = msgspec.json.Encoder().encode
_parse = msgspec.json.Decoder(PlainWindow).decode
_unpack_names = msgspec.msgpack.Decoder(tuple[str, ...]).decode


def encode_window(window: SensorWindow) -> bytes:
    """Encode as MessagePack (content type ``application/msgpack``)."""
    block = np.ascontiguousarray(window.values, dtype="<f4").tobytes()
    return _pack(
        PackedWindow(
            window.asset,
            window.sensors,
            window.start_ms,
            window.period_seconds,
            block,
            window.segment,
        )
    )


def encode_window_json(window: SensorWindow) -> bytes:
    """Encode as JSON (content type ``application/json``).

    NaN becomes null; so do infinities, for which JSON has no number.
    """
    return _print(
        PlainWindow(
            window.asset,
            window.sensors,
            window.start_ms,
            window.period_seconds,
            window.values.tolist(),
            window.segment,
        )
    )


def decode_window(data: bytes, content_type: str | None) -> SensorWindow:
    """Decode a window from either encoding.

    Args:
        data: The record's value.
        content_type: Its media type, as `contracts.headers.content_type_of` finds it.

    Raises:
        InvalidRecord: Not a window; its ``reason`` says why. Values are not judged here.
    """
    body, layout = read_window(data, content_type)
    values = np.frombuffer(body.values, dtype="<f4").reshape(layout.samples, -1)
    return SensorWindow(
        body.asset, layout.sensors, body.start_ms, body.period_seconds, values, body.segment
    )


def read_window(data: bytes, content_type: str | None) -> tuple[WindowBody, Layout]:
    """Read a window from either encoding, up to its readings.

    Args:
        data: The record's value.
        content_type: Its media type, as `contracts.headers.content_type_of` finds it.

    Returns:
        The window, whose ``values`` make ``samples`` rows of the layout's sensors.

    Raises:
        InvalidRecord: Not a window; its ``reason`` says why. Values are not judged here.
    """
    try:
        if content_type == MSGPACK:
            body = _unpack(data)
        elif content_type == JSON:
            plain = _parse(data)
            if plain.v != VERSION:  # before its rows are read
                raise _unknown(plain.v)
            body = _body_of(plain)
        elif content_type is None:
            raise InvalidRecord(
                "wrong_content_type",
                f"the record has no content-type header; send one: {MSGPACK} or {JSON}",
            )
        else:
            raise InvalidRecord(
                "wrong_content_type",
                f"content-type is {content_type!r}; send {MSGPACK} or {JSON}",
            )
        if body.v != VERSION:
            raise _unknown(body.v)
        layout = _layout(bytes(body.sensors), body.period_seconds, len(body.values))
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise InvalidRecord("undecodable", f"not a window in {content_type}: {error}") from error
    return body, layout


def read_windows(values: Sequence[bytes]) -> tuple[list[WindowBody], list[Layout]] | None:
    """Read MessagePack windows together: less work than `read_window` for each.

    Args:
        values: Values of records.

    Returns:
        What `read_window` returns for each of them; None if it refuses any.
    """
    try:
        bodies = [_unpack(value) for value in values]
        layouts = _layouts(bodies)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError, InvalidRecord):
        return None
    return (bodies, layouts) if _all_are([body.v for body in bodies], VERSION) else None


def _layouts(bodies: Sequence[WindowBody]) -> list[Layout]:
    """Layouts of windows, which have the same one as a rule.

    Raises:
        InvalidRecord: One has none.
    """
    if not bodies:
        return []
    sensors = [body.sensors for body in bodies]
    periods = [body.period_seconds for body in bodies]
    sizes = [len(body.values) for body in bodies]
    if all(_all_are(column, column[0]) for column in (sensors, periods, sizes)):
        return [_layout(bytes(sensors[0]), periods[0], sizes[0])] * len(bodies)
    return [_layout(bytes(s), p, n) for s, p, n in zip(sensors, periods, sizes, strict=True)]


def _all_are(column: Sequence[object], value: object) -> bool:
    return column.count(value) == len(column)


def _unknown(version: int) -> InvalidRecord:
    return InvalidRecord("unknown_schema_version", f"window schema {version}, not {VERSION}")


@lru_cache(maxsize=1024)
def _layout(sensors: bytes, period_seconds: float, size: int) -> Layout:
    """Layout of windows that have these encoded sensors and so many bytes of readings."""
    names = _unpack_names(sensors)
    columns = len(names)
    if columns == 0:
        raise InvalidRecord("wrong_shape", "the window names no sensor; name one per column")
    if not size or size % (4 * columns):
        raise InvalidRecord(
            "wrong_shape", f"{size} bytes of float32 do not make rows of {columns} sensors"
        )
    if columns > MAX_SENSORS:
        raise InvalidRecord(
            "bad_name",
            f"{columns} sensors; a window may have {MAX_SENSORS}: send several with fewer",
        )
    for name in names:
        if (problem := name_problem(name)) is not None:
            raise InvalidRecord("bad_name", f"the sensor name {name[:40]!r} {problem}")
    return Layout(names, period_seconds, size // (4 * columns))


def _body_of(plain: PlainWindow) -> WindowBody:
    """The JSON form as the other."""
    columns = len(plain.sensors)
    if columns == 0:
        raise InvalidRecord("wrong_shape", "the window names no sensor; name one per column")
    if not plain.values:
        raise InvalidRecord("wrong_shape", "the window has no rows of values; send one per sample")
    if any(len(row) != columns for row in plain.values):
        raise InvalidRecord("wrong_shape", f"every row must have {columns} values, one per sensor")
    with np.errstate(over="ignore"):  # 1e300 becomes infinite, which validation names
        block = np.array(plain.values, dtype=np.float64).astype("<f4")
    return WindowBody(
        plain.asset,
        msgspec.Raw(_pack(plain.sensors)),
        plain.start_ms,
        plain.period_seconds,
        block.tobytes(),
        plain.segment,
        plain.v,
    )
