"""Parameters of the join, derived from a model's task: timeouts, limits, and the truth.

They are computed once per task; the work for each window only looks them up.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Final

import numpy as np
import numpy.typing as npt

from millrace.contracts.missing import ABSENT_ABOVE
from millrace.contracts.model_spec import ModelSpec
from millrace.stream_processors.rows import rows_of

#: Allowed lateness of readings, in window lengths beyond the forecast's end.
LATENESS: Final = 3
#: Number of windows beyond a forecast's interval after which it is closed.
WITNESSES: Final = 3
#: Open forecasts, and values of truth kept for them, per asset: how far inference may fall
#: behind. Beyond either limit the oldest are dropped without an outcome, so that an asset's
#: snapshot fits into a changelog record. The second limit holds for readings as well.
MOST_OPEN: Final = 4096
MOST_VALUES: Final = 1 << 17
#: Size of a float32.
READING_BYTES: Final = 4

_Float64 = npt.NDArray[np.float64]


class JoinTask:
    """Parameters of the join, derived from a model's task.

    Attributes:
        horizon: Samples ahead that are forecast.
        row_bytes: Bytes of the target readings of one point in time.
        horizon_bytes: Bytes of the target readings of a horizon.
        period_ms: Event time between two samples.
        patience_ms: Event time until a forecast without truth is closed, from its first sample.
        most_open: Limit of open forecasts; at least the number that can be open within the allowed
            lateness.
        most_bytes: Limit of readings, bytes.
        columns: Columns of a window that are forecast.
        targets: Their names.
        sensor_set: Id of the sensor set.
        length_ms: Event time that a forecast covers.
    """

    __slots__ = (
        "_is_mean",
        "_taken",
        "columns",
        "horizon",
        "horizon_bytes",
        "length_ms",
        "most_bytes",
        "most_open",
        "patience_ms",
        "period_ms",
        "row_bytes",
        "sensor_set",
        "targets",
    )

    def __init__(self, spec: ModelSpec) -> None:
        """Compute the parameters."""
        columns = self.columns = spec.target_columns
        self.targets = spec.target_names
        self.sensor_set = spec.sensor_set
        self._taken = None if columns == tuple(range(len(spec.sensors))) else np.array(columns)
        self._is_mean = spec.target == "mean"
        self.horizon = spec.horizon
        self.length_ms = spec.horizon_ms
        self.row_bytes = READING_BYTES * len(columns)
        self.horizon_bytes = spec.horizon * self.row_bytes
        patience = LATENESS * spec.window + spec.horizon
        self.period_ms = spec.period_seconds * 1000
        self.patience_ms = patience * self.period_ms
        waiting = patience // spec.stride + WITNESSES + 1
        self.most_open = max(waiting, min(MOST_OPEN, MOST_VALUES // (spec.steps * len(columns))))
        reach = (patience + WITNESSES * spec.window) * self.row_bytes
        self.most_bytes = max(reach, MOST_VALUES * READING_BYTES)

    def rows(self, values: npt.NDArray[np.float32]) -> list[bytes]:
        """Target readings of windows.

        Args:
            values: float32 of shape (n, samples, sensors), physical units, NaN where missing.

        Returns:
            Of each window, float32 of shape (samples, targets).
        """
        if self._taken is not None:
            values = values.take(self._taken, axis=2)
        return rows_of(values)

    def truths(self, rows: bytes) -> list[bytes]:
        """Compute truths from the readings of horizons, as in `Joined`.

        A target with more missing samples in the horizon than a window may have gets no truth
        (NaN).

        Args:
            rows: float32 of shape (n, horizon, targets), NaN where missing.
        """
        samples = np.frombuffer(rows, "<f4").reshape(-1, self.horizon, len(self.columns))
        missing = np.isnan(samples)
        whole = not missing.any()
        if not self._is_mean:
            if whole:
                return rows_of(samples)
            absent = self._lost(missing) / self.horizon > ABSENT_ABOVE
            return rows_of(np.where(absent[:, None, :], np.float32(np.nan), samples))
        wide = samples.astype(np.float64)
        if whole:
            return rows_of(np.add.reduce(wide, 1) / self.horizon)
        np.copyto(wide, 0.0, where=missing)
        lost = self._lost(missing)
        means: _Float64 = np.add.reduce(wide, 1) / np.maximum(self.horizon - lost, 1)
        means[lost / self.horizon > ABSENT_ABOVE] = np.nan
        return rows_of(means)

    @staticmethod
    def _lost(missing: npt.NDArray[np.bool_]) -> npt.NDArray[np.intp]:
        """Count missing samples per target: shape (n, targets) from (n, horizon, targets)."""
        lost: npt.NDArray[np.intp] = np.add.reduce(missing, 1, np.intp)
        return lost


@lru_cache(maxsize=256)
def join_task(spec: ModelSpec) -> JoinTask:
    """Return the parameters of the join for a task, from a cache."""
    return JoinTask(spec)
