"""Builds an outcome from a forecast and its truth: the errors, in standard deviations."""

from __future__ import annotations

import math
from datetime import datetime
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt

from millrace.contracts.clock import event_time
from millrace.contracts.events.outcome import Outcome
from millrace.contracts.ids import derived_id, window_id
from millrace.contracts.model_spec import ModelSpec
from millrace.contracts.normaliser import Normaliser
from millrace.contracts.source import Source
from millrace.contracts.topics import SENSOR_WINDOWS
from millrace.stream_processors.outcomes.join_task import join_task
from millrace.stream_processors.outcomes.stored_prediction import Joined

_Values = npt.NDArray[np.floating[Any]]
_Float64 = npt.NDArray[np.float64]


def outcome_of(
    joined: Joined, asset: str, normaliser: Normaliser, spec: ModelSpec, joined_at: datetime
) -> Outcome | None:
    """Compare a forecast with its truth.

    Args:
        joined: The forecast and its truth.
        asset: The machine.
        normaliser: Units of the version that served.
        spec: The model's task.
        joined_at: Wall clock.

    Returns:
        The outcome, or None if no target has both a forecast and a truth.
    """
    task = join_task(spec)
    answer = joined.answer
    truth = joined.measured(spec)
    if len(answer.forecast) != 4 * truth.size or len(answer.persistence) != 4 * truth.shape[1]:
        return None  # a forecast of another task
    scale = _scale(normaliser, task.columns)
    exact = truth.astype(np.float64)
    error = _mean_error(_wide(answer.forecast).reshape(truth.shape), exact, scale)
    naive = _mean_error(_wide(answer.persistence), exact, scale)
    if error is None or naive is None:
        return None
    total = error + naive
    source = Source(SENSOR_WINDOWS.name, answer.partition, answer.offset, answer.timestamp_ms)
    return Outcome(
        id=derived_id("o", source.topic, source.partition, source.offset),
        asset=asset,
        model=spec.name,
        version=answer.version,
        epoch=answer.epoch,
        window_id=window_id(asset, task.sensor_set, joined.start_ms, joined.segment),
        source=source,
        interval_start=event_time(joined.begins_ms),
        interval_end=event_time(joined.begins_ms + task.length_ms),
        targets=task.targets,
        truth=_rows(truth),
        error=error,
        persistence_error=naive,
        skill=(error - naive) / total if total > 0 else 0.0,
        joined_at=joined_at,
    )


@lru_cache(maxsize=256)
def _scale(normaliser: Normaliser, columns: tuple[int, ...]) -> _Float64:
    """Scales of the targets."""
    return np.array([normaliser.scale[column] for column in columns])


def _wide(values: bytes) -> _Float64:
    return np.frombuffer(values, "<f4").astype(np.float64)


def _mean_error(forecast: _Float64, truth: _Float64, scale: _Float64) -> float | None:
    """Mean absolute error in scales over values present in both; None if none is finite."""
    error = forecast - truth
    np.abs(error, error)
    error /= scale
    total = float(np.add.reduce(error, axis=None))
    if math.isfinite(total):
        return total / error.size
    missing = np.isnan(error)
    count = error.size - int(np.count_nonzero(missing))
    np.copyto(error, 0.0, where=missing)
    total = float(np.add.reduce(error, axis=None))
    return total / count if count and math.isfinite(total) else None


def _rows(truth: _Values) -> list[list[float | None]]:
    """An array as rows; None where it is NaN."""
    rows: list[list[float | None]] = truth.tolist()
    width = truth.shape[1]
    for place in np.flatnonzero(np.isnan(truth)).tolist():
        rows[place // width][place % width] = None
    return rows
