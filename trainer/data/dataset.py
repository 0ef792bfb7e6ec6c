"""Joins archived windows and outcomes into the arrays of a training dataset.

A window and its truth are joined by the source record's partition and offset, which both carry.
Only windows that the stream processor accepted have an outcome, so the join also excludes all dead
letters. The same records always give the same arrays in the same order, independent of the order in
which they were read.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, fields
from typing import Any, NamedTuple, Self

import numpy as np
import numpy.typing as npt

from millrace.contracts.clock import to_ms
from millrace.contracts.errors import DataError
from millrace.contracts.events.outcome import Outcome
from millrace.contracts.events.window import SensorWindow
from millrace.contracts.missing import fill_missing
from millrace.contracts.model_spec import ModelSpec

Place = tuple[int, int]
"""Partition and offset of a record in `sensor.windows`."""


@dataclass(frozen=True, eq=False)
class Dataset:
    """Windows with their truth, oldest truth first.

    Attributes:
        x: Readings, float32 of shape (n, window, sensors), physical units, gaps closed,
            absent sensors 0.
        present: Which sensors are present, bool of shape (n, sensors).
        y: Truth, float32 of shape (n, steps, targets), physical units, 0 where unknown.
        known: Which targets are present in the window and known in every step of the truth,
            bool of shape (n, targets). At least one per window.
        asset: Asset of each window, str of shape (n,).
        start_ms: Event time of each window's first sample, int64 of shape (n,).
        forecast_ms: Event time where its forecast begins, int64 of shape (n,).
        until_ms: Event time at which its truth is complete, int64 of shape (n,), ascending.
        partition: Partition of its source record, int32 of shape (n,).
        offset: Offset of its source record, int64 of shape (n,).
    """

    x: npt.NDArray[np.float32]
    present: npt.NDArray[np.bool_]
    y: npt.NDArray[np.float32]
    known: npt.NDArray[np.bool_]
    asset: npt.NDArray[np.str_]
    start_ms: npt.NDArray[np.int64]
    forecast_ms: npt.NDArray[np.int64]
    until_ms: npt.NDArray[np.int64]
    partition: npt.NDArray[np.int32]
    offset: npt.NDArray[np.int64]

    def __len__(self) -> int:
        """Count the windows."""
        return len(self.x)

    def take(self, rows: npt.NDArray[np.bool_] | npt.NDArray[np.intp] | slice) -> Self:
        """Select rows by mask, index or slice; their order is kept as given."""
        return type(self)(**{field.name: getattr(self, field.name)[rows] for field in fields(self)})


class Truth(NamedTuple):
    """The fields of an outcome that a dataset needs."""

    place: Place
    window_id: str
    start_ms: int
    until_ms: int
    rows: list[list[float | None]]


def truths_of(outcomes: Iterable[Outcome], spec: ModelSpec) -> dict[Place, Truth]:
    """Collect the truth of a model's windows, each once.

    A duplicate of an outcome has the same id and content, so the last one read is used. A window
    that a device sent twice has two places and one id: the first place is used.

    Args:
        outcomes: Outcomes of any model.
        spec: The model.

    Raises:
        DataError: An outcome's truth does not have the model's shape.
    """
    by_window: dict[str, Truth] = {}
    for outcome in outcomes:
        if outcome.model != spec.name:
            continue
        _check_shape(outcome, spec)
        truth = Truth(
            (outcome.source.partition, outcome.source.offset),
            outcome.window_id,
            to_ms(outcome.interval_start),
            to_ms(outcome.interval_end),
            outcome.truth,
        )
        before = by_window.get(truth.window_id)
        if before is None or truth.place <= before.place:
            by_window[truth.window_id] = truth
    return {truth.place: truth for truth in by_window.values()}


def build_dataset(
    windows: Iterable[tuple[Place, SensorWindow]],
    truths: dict[Place, Truth],
    spec: ModelSpec,
    *,
    max_windows: int,
) -> Dataset:
    """Join windows with their truth.

    Args:
        windows: Windows with the place of their record; those without truth, or with another sensor
            set, are excluded.
        truths: From `truths_of`.
        spec: The model.
        max_windows: Most windows to keep, the most recent ones.

    Raises:
        DataError: No window has a usable truth.
    """
    rows = list(_joined(windows, truths, spec))
    if not rows:
        raise DataError(
            f"model {spec.name}: no archived window has its truth yet; send windows, and wait"
            " until readings cover the forecasts"
        )
    rows.sort(key=lambda row: (row["until_ms"], row["asset"], row["start_ms"]))
    rows = rows[-max_windows:]
    types = {
        "x": np.float32,
        "present": np.bool_,
        "y": np.float32,
        "known": np.bool_,
        "asset": np.str_,
        "partition": np.int32,
    }
    columns: dict[str, Any] = {
        field.name: np.array([row[field.name] for row in rows], types.get(field.name, np.int64))
        for field in fields(Dataset)
    }
    return Dataset(**columns)


def _joined(
    windows: Iterable[tuple[Place, SensorWindow]], truths: dict[Place, Truth], spec: ModelSpec
) -> Iterator[dict[str, Any]]:
    targets = list(spec.target_columns)
    seen: set[Place] = set()
    for place, window in windows:
        truth = truths.get(place)
        if truth is None or place in seen or window.sensor_set != spec.sensor_set:
            continue
        seen.add(place)
        filled, present = fill_missing(window.values)
        y = np.array(truth.rows, dtype=np.float64).reshape(spec.steps, len(targets))
        known = np.isfinite(y).all(axis=0) & present[targets]
        if not known.any():
            continue
        yield {
            "x": filled,
            "present": present,
            "y": np.where(known, y, 0.0),
            "known": known,
            "asset": window.asset,
            "start_ms": window.start_ms,
            "forecast_ms": truth.start_ms,
            "until_ms": truth.until_ms,
            "partition": place[0],
            "offset": place[1],
        }


def _check_shape(outcome: Outcome, spec: ModelSpec) -> None:
    columns = len(spec.target_names)
    if len(outcome.truth) != spec.steps or any(len(row) != columns for row in outcome.truth):
        raise DataError(
            f"outcome {outcome.id}: truth of {len(outcome.truth)} rows, where model {spec.name}"
            f" forecasts {spec.steps} x {columns}; was the model's description changed under"
            " the same name? Give the changed model another name"
        )
