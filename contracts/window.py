"""A window of readings as the edge sends it, and its two encodings.

MessagePack carries the readings as little-endian float32 bytes (about ten times cheaper
to code than text) and is what our producers send; plain JSON is accepted from any device.
The ``content-type`` header tells them apart.

>>> import numpy as np
>>> window = SensorWindow("pump-1", ("flow",), 0, 1.0, np.array([[1.0], [np.nan]], "f4"))
>>> decode_window(encode_window(window), MSGPACK).values.tolist()
[[1.0], [nan]]
>>> encode_window_json(window)[-43:]
b'"values":[[1.0],[null]],"segment":"","v":1}'
"""

from __future__ import annotations

from typing import Final

import msgspec
import numpy as np
import numpy.typing as npt

from contracts.ids import window_id
from contracts.invalid_record import InvalidRecord
from contracts.model_spec import sensor_set_id

MSGPACK: Final = "application/msgpack"
JSON: Final = "application/json"
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
        return window_id(self.asset, self.sensor_set, self.start_ms)

    @property
    def sensor_set(self) -> str:
        """Id of the sensor set, by which a model is found."""
        return sensor_set_id(self.sensors, self.period_seconds, len(self.values))

    @property
    def end_ms(self) -> int:
        """Event time one period after the last sample: where a forecast begins."""
        return self.start_ms + round(len(self.values) * self.period_seconds * 1000)


class PackedWindow(msgspec.Struct):
    """MessagePack form: readings as one block of bytes.

    Attributes:
        values: Binary: little-endian float32, row by row (samples x sensors), NaN if missing.
        v: Schema version.
    """

    asset: str
    sensors: tuple[str, ...]
    start_ms: int
    period_seconds: float
    values: bytes
    segment: str = ""
    v: int = VERSION


class PlainWindow(msgspec.Struct):
    """JSON form: readings as rows of numbers.

    Attributes:
        values: One row per sample, one number per sensor, null where missing.
        v: Schema version.
    """

    asset: str
    sensors: tuple[str, ...]
    start_ms: int
    period_seconds: float
    values: list[list[float | None]]
    segment: str = ""
    v: int = VERSION


_pack = msgspec.msgpack.Encoder().encode
_unpack = msgspec.msgpack.Decoder(PackedWindow).decode
_print = msgspec.json.Encoder().encode
_parse = msgspec.json.Decoder(PlainWindow).decode


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


def decode_window(data: bytes, content_type: str) -> SensorWindow:
    """Decode a window from either encoding.

    Args:
        data: The record's value.
        content_type: The record's ``content-type`` header.

    Raises:
        InvalidRecord: Not a window; its ``reason`` says why. Values are not judged here.
    """
    if content_type not in {MSGPACK, JSON}:
        raise InvalidRecord(
            "wrong_content_type",
            f"content-type is {content_type!r}; send {MSGPACK} or {JSON}",
        )
    try:
        body = _unpack(data) if content_type == MSGPACK else _parse(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise InvalidRecord("undecodable", f"not a window in {content_type}: {error}") from error
    if body.v != VERSION:
        raise InvalidRecord("unknown_schema_version", f"window schema {body.v}, not {VERSION}")
    values = _matrix(body)
    return SensorWindow(
        body.asset, body.sensors, body.start_ms, body.period_seconds, values, body.segment
    )


def _matrix(body: PackedWindow | PlainWindow) -> Float32:
    """Shape the readings to (samples, sensors)."""
    columns = len(body.sensors)
    if isinstance(body, PackedWindow):
        flat = body.values
        if columns == 0 or not flat or len(flat) % (4 * columns):
            raise InvalidRecord(
                "wrong_shape",
                f"{len(flat)} bytes of float32 do not make rows of {columns} sensors",
            )
        return np.frombuffer(flat, dtype="<f4").reshape(-1, columns)
    if columns == 0 or not body.values or any(len(row) != columns for row in body.values):
        raise InvalidRecord("wrong_shape", f"every row must have {columns} values, one per sensor")
    with np.errstate(over="ignore"):  # 1e300 becomes infinite, which validation names
        return np.array(body.values, dtype=np.float64).astype(np.float32)
