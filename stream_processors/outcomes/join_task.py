"""What the join needs of a model's task: who waits how long, how much is kept, what truth is.

It is worked out once per task; what is done for every window only looks it up.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Final

import numpy as np
import numpy.typing as npt

from millrace.contracts.missing import ABSENT_ABOVE
from millrace.contracts.model_spec import ModelSpec
from millrace.stream_processors.rows import rows_of

#: Wait for late readings, in window lengths beyond the forecast's end.
LATENESS: Final = 3
#: Windows that have to have passed a forecast's interval before it is given up.
WITNESSES: Final = 3
#: Open forecasts, and values of truth kept for them, per asset: how far inference may fall
#: behind. Beyond either the oldest are dropped without an outcome, so that an asset's
#: snapshot fits into a record of the changelog. Readings are as many as the latter at most.
MOST_OPEN: Final = 4096
MOST_VALUES: Final = 1 << 17
#: Of a float32.
READING_BYTES: Final = 4

_Float64 = npt.NDArray[np.float64]


class JoinTask:
    """What the join needs of a model's task.

    Attributes:
        horizon: Samples ahead that are forecast.
        row_bytes: Bytes of the target readings of a moment.
        horizon_bytes: Bytes of those of a horizon.
        period_ms: Event time between two samples.
        patience_ms: Event time that a forecast waits for its truth, from its first sample.
        most_open: Open forecasts that there may be. Those that can still wait for their
            truth are never too many.
        most_bytes: Bytes of readings that there may be.
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
        """Work it out."""
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
        """Make the truths of horizons' readings, as in `Joined`.

        A target that misses more of the horizon than a window may has no truth (NaN).

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
        """Samples that each target misses: of shape (n, targets) from (n, horizon, targets)."""
        lost: npt.NDArray[np.intp] = np.add.reduce(missing, 1, np.intp)
        return lost


@lru_cache(maxsize=256)
def join_task(spec: ModelSpec) -> JoinTask:
    """What the join needs of a task."""
    return JoinTask(spec)
