"""Which records are windows that a model reads; the rest become dead letters.

A pure function from a record to a window and its model, or to the reason why not. The
checks go from cheap to dear and from form to content.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from contracts.headers import CONTENT_TYPE, RawHeaders, header
from contracts.invalid_record import InvalidRecord
from contracts.missing import ABSENT_ABOVE, fill_missing
from contracts.model_spec import ModelSpec
from contracts.registry import Model, Registry
from contracts.topics import MAX_WINDOW_BYTES
from contracts.window import SensorWindow, decode_window

#: Event times outside of these say that a device's clock is wrong.
EARLIEST_MS: Final = 946_684_800_000  # 2000-01-01
LATEST_AHEAD_MS: Final = 86_400_000
#: No sensor reads more than this in any unit; larger numbers are defects.
LARGEST: Final = 1e30


@dataclass(frozen=True)
class Accepted:
    """A window that a model reads.

    Attributes:
        window: The window as it came.
        model: The model that reads it.
        filled: float32 of shape (window, sensors), physical units, gaps closed.
        present: Which sensors are present, bool of shape (sensors,).
    """

    window: SensorWindow
    model: Model
    filled: npt.NDArray[np.float32]
    present: npt.NDArray[np.bool_]


def validate(
    key: bytes | None,
    value: bytes | None,
    headers: RawHeaders,
    registry: Registry,
    now_ms: int,
) -> Accepted:
    """Judge one record of `sensor.windows`.

    Args:
        key: The record's key: the asset.
        value: Its value: an encoded window.
        headers: Its headers.
        registry: The models that there are.
        now_ms: Wall clock, milliseconds UTC.

    Raises:
        InvalidRecord: Why it cannot be used.
    """
    if not key:
        raise InvalidRecord("empty_key", "the record has no key; send the asset's name")
    if value is None:
        raise InvalidRecord("undecodable", "the record has no value")
    if len(value) > MAX_WINDOW_BYTES:
        raise InvalidRecord(
            "oversized",
            f"{len(value)} bytes; a window may have {MAX_WINDOW_BYTES}: send shorter ones",
        )
    content_type = header(headers, CONTENT_TYPE)
    window = decode_window(value, content_type or "")
    if window.asset.encode() != key:
        raise InvalidRecord(
            "key_mismatch", f"the key is not the window's asset {window.asset!r}; send it as key"
        )
    if not (math.isfinite(window.period_seconds) and window.period_seconds > 0):
        raise InvalidRecord(
            "bad_period", f"period_seconds is {window.period_seconds}; it must be positive"
        )
    if not EARLIEST_MS <= window.start_ms <= now_ms + LATEST_AHEAD_MS:
        raise InvalidRecord(
            "implausible_time",
            f"start_ms {window.start_ms} is before 2000 or more than a day ahead; set the"
            " device's clock, and send milliseconds since 1970 UTC",
        )
    model = _model_for(window, registry)
    filled, present = _readings(window, model.spec)
    return Accepted(window, model, filled, present)


def _model_for(window: SensorWindow, registry: Registry) -> Model:
    """Find the model that reads the window's sensor set."""
    model = registry.by_sensor_set(window.sensor_set)
    if model is not None and model.serving is not None:
        return model
    for other in registry.models.values():
        spec = other.spec
        if spec.sensors == window.sensors and spec.period_seconds == window.period_seconds:
            raise InvalidRecord(
                "wrong_shape",
                f"{len(window.values)} samples; model {spec.name} reads {spec.window}",
            )
    raise InvalidRecord(
        "unknown_sensor_set",
        f"no model reads sensors {list(window.sensors)} every {window.period_seconds} s;"
        " declare one with `millrace models declare`",
    )


def _readings(
    window: SensorWindow, spec: ModelSpec
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.bool_]]:
    """Apply the rules for values."""
    values = window.values
    if np.isinf(values).any():
        raise InvalidRecord(
            "not_finite", "a reading is infinite; send null or NaN if it is missing"
        )
    with np.errstate(invalid="ignore"):
        if (np.abs(values) > LARGEST).any():
            raise InvalidRecord("out_of_range", f"a reading is beyond {LARGEST:g}")
    filled, present = fill_missing(values)
    if not present[list(spec.target_columns)].any():
        raise InvalidRecord(
            "too_many_missing",
            f"every target sensor misses more than {ABSENT_ABOVE:.0%} of its samples",
        )
    return filled, present
