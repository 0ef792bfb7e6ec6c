"""Live, frozen and persistence errors, updated as predictions arrive.

Predictions come from the observer's thread, frozen forecasts together from a process, truth from
the source in advance. Errors are computed over the windows with both forecast and truth.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from millrace.console.demo.accuracy import Errors, Floats, Judged, Truth
from millrace.contracts.clock import to_ms
from millrace.contracts.events.prediction import Prediction
from millrace.contracts.model_spec import ModelSpec

Name = tuple[str, int]


class Scoreboard:
    """Errors so far. Thread-safe; reading them is cheap.

    Args:
        truth: Measured values.
        spec: The task.
        judged_after_ms: Forecasts whose interval begins by this do not count.
    """

    def __init__(self, truth: Truth, spec: ModelSpec, judged_after_ms: int) -> None:
        self._truth = truth
        self._spec = spec
        self._from_ms = judged_after_ms
        self._rows: dict[Name, Judged] = {}
        self._live, self._persistence, self._frozen = _Mean(), _Mean(), _Mean()
        self._frozen_errors: dict[Name, Floats] | None = None
        self._lock = threading.Lock()

    def add(self, prediction: Prediction) -> None:
        """Add a prediction's errors, if it counts; duplicates of a window are ignored."""
        row = judge(prediction, self._truth, self._spec, self._from_ms)
        if row is None:
            return
        name = window_name(prediction, self._spec)
        with self._lock:
            if name in self._rows:
                return
            self._rows[name] = row
            self._live.add(row.live)
            self._persistence.add(row.persistence)
            if self._frozen_errors is not None and name in self._frozen_errors:
                self._frozen.add(self._frozen_errors[name])

    def set_frozen(self, forecasts: Mapping[Name, Floats]) -> None:
        """Add the frozen model's forecasts of all windows."""
        errors = {}
        for name, forecast in forecasts.items():
            error = self._truth.error(*name, forecast)
            if error is not None:
                errors[name] = error
        with self._lock:
            self._frozen_errors = errors
            self._frozen = _Mean()
            for name in self._rows:
                if name in errors:
                    self._frozen.add(errors[name])

    def errors(self) -> Errors:
        """Errors so far, pooled."""
        with self._lock:
            return Errors(
                self._live.value, self._frozen.value, self._persistence.value, len(self._rows)
            )

    def rows(self) -> list[Judged]:
        """Errors of all forecasts by event time."""
        with self._lock:
            frozen = self._frozen_errors or {}
            found = [replace(row, frozen=frozen.get(name)) for name, row in self._rows.items()]
        return sorted(found, key=lambda row: (row.interval_start_ms, row.asset))


class _Mean:
    """A running mean that skips NaN."""

    def __init__(self) -> None:
        self._sum = 0.0
        self._count = 0

    def add(self, values: Floats) -> None:
        known = values[~np.isnan(values)]
        self._sum += float(known.sum())
        self._count += len(known)

    @property
    def value(self) -> float | None:
        return self._sum / self._count if self._count else None


def window_name(prediction: Prediction, spec: ModelSpec) -> Name:
    """The window that a prediction was made from: asset and start."""
    return prediction.asset, to_ms(prediction.interval_start) - spec.window_ms


def judge(
    prediction: Prediction, truth: Truth, spec: ModelSpec, judged_after_ms: int
) -> Judged | None:
    """Compute one prediction's errors; None if it does not count or has no truth."""
    start_ms = to_ms(prediction.interval_start)
    if start_ms <= judged_after_ms:
        return None
    name = window_name(prediction, spec)
    naive = truth.persistence_error(*name)
    live = truth.error(*name, forecast_array(prediction))
    if live is None or naive is None:
        return None
    return Judged(prediction.asset, start_ms, prediction.version, live, naive, None)


def forecast_array(prediction: Prediction) -> Floats:
    """A forecast as numbers of shape (steps, targets), NaN where it is null."""
    return np.array(
        [[np.nan if value is None else value for value in row] for row in prediction.forecast],
        dtype=np.float64,
    )
