"""Errors of the live, the frozen and the persistence forecast, on the same windows.

All are mean absolute errors in standard deviations of the first training stretch (per
sensor, all assets pooled), over the target sensors that are present in the window and in the
truth. Truth comes from the source, not from the outcomes. A forecast counts if its interval
begins after the training stretch; each (forecast, sensor) pair has the same weight.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

import numpy as np
import numpy.typing as npt
import pandas as pd

from millrace.contracts.missing import ABSENT_ABOVE
from millrace.contracts.model_spec import ModelSpec
from millrace.verification.source_windows import Float32, SourceWindow

Floats = npt.NDArray[np.float64]

#: Errors of a sensor that was constant in the training stretch are in physical units.
_STILL: Final = 1e-9


def training_scale(frame: pd.DataFrame, spec: ModelSpec, start: datetime, end: datetime) -> Floats:
    """Standard deviation of each target sensor over the first training stretch.

    Args:
        frame: All readings.
        spec: Names the targets.
        start: Beginning of the stretch.
        end: Its end, exclusive.

    Returns:
        Shape (targets,), positive, physical units.
    """
    inside = (frame["time"] >= pd.Timestamp(start)) & (frame["time"] < pd.Timestamp(end))
    readings = frame.loc[inside, list(spec.target_names)].to_numpy(dtype=np.float64)
    if not len(readings):
        return np.ones(len(spec.target_names))
    known = ~np.isnan(readings)
    count = np.maximum(known.sum(axis=0), 1)
    mean = np.where(known, readings, 0.0).sum(axis=0) / count
    variance = (np.where(known, readings - mean, 0.0) ** 2).sum(axis=0) / count
    scale = np.sqrt(variance)
    return np.where(scale > _STILL, scale, 1.0)


class Truth:
    """Measured values after each window, to compare forecasts with.

    Args:
        windows: Windows of the source.
        spec: The forecasting task.
        scale: Standard deviations of the targets.
    """

    def __init__(self, windows: Sequence[SourceWindow], spec: ModelSpec, scale: Floats) -> None:
        self._spec = spec
        self._scale = scale
        self._truth: dict[tuple[str, int], Floats] = {}
        self._last: dict[tuple[str, int], Floats] = {}
        for window in windows:
            measured = truth_of(window, spec)
            if measured is not None:
                name = (window.asset, window.start_ms)
                self._truth[name] = measured
                self._last[name] = last_readings(window.values, spec)

    def __len__(self) -> int:
        return len(self._truth)

    def of(self, asset: str, start_ms: int) -> Floats | None:
        """Measured values of shape (steps, targets), NaN where absent; None if unknown."""
        return self._truth.get((asset, start_ms))

    def error(self, asset: str, start_ms: int, forecast: Floats) -> Floats | None:
        """Compute the error of a forecast.

        Args:
            asset: The machine.
            start_ms: Event time of the window's first sample.
            forecast: Shape (steps, targets), physical units, NaN where there is none.

        Returns:
            Shape (targets,): mean absolute error in standard deviations, NaN where there is no
            common value; None if there is no truth.
        """
        truth = self._truth.get((asset, start_ms))
        if truth is None:
            return None
        distance = np.abs(forecast - truth) / self._scale
        return _mean_over_steps(distance)

    def persistence_error(self, asset: str, start_ms: int) -> Floats | None:
        """Compute the error of the last reading of each target as a forecast; see `error`."""
        last = self._last.get((asset, start_ms))
        if last is None:
            return None
        return self.error(asset, start_ms, np.tile(last, (self._spec.steps, 1)))


def truth_of(window: SourceWindow, spec: ModelSpec) -> Floats | None:
    """The correct forecast from a window.

    Returns:
        Shape (steps, targets), NaN where a target was absent from the window or from its horizon;
        None if all are absent.
    """
    if window.truth is None:
        return None
    columns = list(spec.target_columns)
    after = window.truth[:, columns].astype(np.float64)
    seen = np.isnan(window.values[:, columns]).mean(axis=0) <= ABSENT_ABOVE
    measured = np.isnan(after).mean(axis=0) <= ABSENT_ABOVE
    after[:, ~(seen & measured)] = np.nan
    if spec.target == "mean":
        after = _mean_over_steps(after)[None, :]
    return None if np.isnan(after).all() else after


def joinable(windows: Sequence[SourceWindow], spec: ModelSpec) -> int:
    """Count the windows whose truth is fully covered by later windows of the same run.

    Those must have an outcome, because the join sees only windows and not the source.
    """
    horizon = spec.horizon * spec.period_ms
    count = 0
    covered: dict[tuple[str, str], tuple[int, int]] = {}
    for window in sorted(windows, key=lambda w: (w.asset, w.segment, w.start_ms), reverse=True):
        stretch = (window.asset, window.segment)
        next_start, end = covered.get(stretch, (0, 0))
        if next_start > window.end_ms:
            end = 0  # the later window begins after a gap
        end = max(end, window.end_ms)
        covered[stretch] = (window.start_ms, end)
        if end >= window.end_ms + horizon and truth_of(window, spec) is not None:
            count += 1
    return count


def last_readings(values: Float32, spec: ModelSpec) -> Floats:
    """The last reading of each target in a window; NaN if it has none."""
    columns = list(spec.target_columns)
    last = pd.DataFrame(values[:, columns].astype(np.float64)).ffill().to_numpy()[-1]
    return np.asarray(last, dtype=np.float64)


def _mean_over_steps(values: Floats) -> Floats:
    known = ~np.isnan(values)
    count = known.sum(axis=0)
    total = np.where(known, values, 0.0).sum(axis=0)
    return np.where(count > 0, total / np.maximum(count, 1), np.nan)


@dataclass(frozen=True, eq=False)
class Judged:
    """One forecast's errors.

    Attributes:
        asset: The machine.
        interval_start_ms: Event time of the first forecast sample.
        version: Version that served.
        live: Shape (targets,), standard deviations.
        persistence: The same of persistence.
        frozen: The same of the frozen model; None if there is no such model.
    """

    asset: str
    interval_start_ms: int
    version: int
    live: Floats
    persistence: Floats
    frozen: Floats | None


@dataclass(frozen=True)
class Errors:
    """Errors over some forecasts.

    Attributes:
        live: Error of the served forecasts.
        frozen: Error of the first approved trained version; None without one.
        persistence: Error of the last reading.
        windows: Number of forecasts.
    """

    live: float | None
    frozen: float | None
    persistence: float | None
    windows: int


def summarize(judged: Iterable[Judged]) -> Errors:
    """Pool the errors of some forecasts."""
    all_of_them = list(judged)
    rows = [j for j in all_of_them if not np.isnan(j.live + j.persistence).all()]
    with_frozen = [j.frozen for j in rows if j.frozen is not None]
    whole = bool(rows) and len(with_frozen) == len(rows)
    return Errors(
        live=_pooled([j.live for j in rows]),
        frozen=_pooled(with_frozen) if whole else None,
        persistence=_pooled([j.persistence for j in rows]),
        windows=len(rows),
    )


def by_month(judged: Iterable[Judged]) -> dict[str, Errors]:
    """Pool by the month (UTC, ``2017-08``) in which the forecast interval begins."""
    months: dict[str, list[Judged]] = {}
    for row in judged:
        moment = datetime.fromtimestamp(row.interval_start_ms / 1000, UTC)
        months.setdefault(f"{moment:%Y-%m}", []).append(row)
    return {month: summarize(rows) for month, rows in sorted(months.items())}


def _pooled(errors: Sequence[Floats]) -> float | None:
    if not errors:
        return None
    values = np.concatenate(errors)
    known = values[~np.isnan(values)]
    return float(known.mean()) if len(known) else None
