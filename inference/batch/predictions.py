"""Forecasts of a version for windows: columns of numbers, in physical units.

All steps run once per run of the network, not once per window: the readings of all windows are one
block of memory, used without a copy where the units are the version's own.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from millrace.contracts.events.normalized_window import NormalizedWindow
from millrace.contracts.invalid_record import InvalidRecord
from millrace.contracts.model_spec import ModelSpec
from millrace.contracts.normaliser import Normaliser
from millrace.inference.serving.servables import Servable
from millrace.model_families.examples import Bools, Float32

#: Range of event times that can be encoded in a prediction's interval, milliseconds UTC.
FIRST_MS: Final = 0
LAST_MS: Final = 253_402_300_799_000
_FLOAT32: Final = 4


@dataclass(frozen=True)
class Forecasts:
    """Forecasts of a version for n windows.

    Attributes:
        forecast: float32 of shape (n, steps, targets), physical units.
        last: float32 of shape (n, targets): the last reading of each target, physical units.
        present: bool of shape (n, targets).
        finite: bool of shape (n,): whether all forecasts of present targets are finite. Where they
            are not, there is no prediction.
    """

    forecast: Float32
    last: Float32
    present: Bools
    finite: Bools


def misfits(spec: ModelSpec, windows: Sequence[NormalizedWindow]) -> dict[int, InvalidRecord]:
    """Find windows that no version of a model can read.

    Returns:
        The problem, by the window's index.
    """
    size, sensors = _FLOAT32 * spec.window * len(spec.sensors), len(spec.sensors)
    last = LAST_MS - spec.horizon * spec.period_ms
    found = {}
    for place, window in enumerate(windows):
        if len(window.values) != size:
            found[place] = InvalidRecord(
                "wrong_shape",
                f"{len(window.values)} bytes of float32 are not the {spec.window} x {sensors}"
                f" readings of model {spec.name}",
            )
        elif len(window.present) != sensors:
            found[place] = InvalidRecord(
                "wrong_shape",
                f"presence of {len(window.present)} sensors; model {spec.name} has {sensors}",
            )
        elif not FIRST_MS <= window.end_ms <= last:
            found[place] = InvalidRecord(
                "wrong_time", f"{window.end_ms} ms is no moment at which a forecast can begin"
            )
    return found


def predict(
    servable: Servable, windows: Sequence[NormalizedWindow], stamped: Normaliser | None
) -> Forecasts:
    """Run windows on a version.

    Args:
        servable: The version.
        windows: At least one window, each of which fits its model (`misfits`).
        stamped: Units of the windows, if these are another version's: they are converted to the
            servable's units first. None if they are its own.
    """
    spec, units = servable.spec, servable.normaliser
    columns = range(len(spec.sensors))
    values = np.frombuffer(b"".join([w.values for w in windows]), dtype="<f4")
    values = values.reshape(len(windows), spec.window, len(columns))
    present = np.frombuffer(b"".join([w.present for w in windows]), dtype=np.uint8) != 0
    present = present.reshape(len(windows), len(columns))
    if stamped is not None:
        values = units.apply(stamped.restore(values, tuple(columns)), present)
    targets = spec.target_columns
    forecast = units.restore(servable.forecast(values, present), targets)
    shown = present[:, list(targets)]
    return Forecasts(
        forecast,
        units.restore(values[:, -1, list(targets)], targets),
        shown,
        (np.isfinite(forecast).all(axis=1) | ~shown).all(axis=1),
    )
