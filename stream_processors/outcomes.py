"""A prediction and its truth as an outcome: the errors, in standard deviations."""

from __future__ import annotations

from datetime import datetime

import numpy as np

from contracts.ids import derived_id
from contracts.model_spec import ModelSpec
from contracts.normaliser import Normaliser
from contracts.outcome import Outcome
from contracts.prediction import Prediction
from stream_processors.forecasts import Row


def outcome_of(
    prediction: Prediction,
    truth: list[Row],
    normaliser: Normaliser,
    spec: ModelSpec,
    joined_at: datetime,
) -> Outcome | None:
    """Compare a forecast with its truth.

    Args:
        prediction: The forecast.
        truth: One row per step, one value per target; None where there is no truth.
        normaliser: Units of the version that served.
        spec: The model's task.
        joined_at: Wall clock.

    Returns:
        The outcome, or None if no target has both a forecast and a truth.
    """
    scale = np.array([normaliser.scale[column] for column in spec.target_columns])
    measured = _array([list(row) for row in truth])
    error = np.abs(_array(prediction.forecast) - measured) / scale
    naive = np.abs(_array([prediction.persistence]) - measured) / scale
    if np.isnan(error).all():
        return None
    model_error, naive_error = float(np.nanmean(error)), float(np.nanmean(naive))
    total = model_error + naive_error
    source = prediction.source
    return Outcome(
        id=derived_id("o", source.topic, source.partition, source.offset),
        asset=prediction.asset,
        model=prediction.model,
        version=prediction.version,
        epoch=prediction.epoch,
        window_id=prediction.window_id,
        source=source,
        interval_start=prediction.interval_start,
        interval_end=prediction.interval_end,
        targets=prediction.targets,
        truth=[list(row) for row in truth],
        error=model_error,
        persistence_error=naive_error,
        skill=(model_error - naive_error) / total if total > 0 else 0.0,
        joined_at=joined_at,
    )


def _array(rows: list[list[float | None]]) -> np.ndarray[tuple[int, int], np.dtype[np.float64]]:
    return np.array([[np.nan if x is None else x for x in row] for row in rows], dtype=np.float64)
