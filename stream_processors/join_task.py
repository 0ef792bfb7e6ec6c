"""What the join needs of a model's task: who waits how long, how much is kept, what truth is.

It is worked out once per task; what is done for every window only looks it up.
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import Final

import numpy as np
import numpy.typing as npt

from contracts.missing import ABSENT_ABOVE
from contracts.model_spec import ModelSpec

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
        truth_bytes: Bytes of those of a horizon.
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
        "length_ms",
        "most_bytes",
        "most_open",
        "patience_ms",
        "row_bytes",
        "sensor_set",
        "targets",
        "truth_bytes",
    )

    def __init__(self, spec: ModelSpec) -> None:
        """Work it out."""
        columns = self.columns = spec.target_columns
        self.targets = spec.target_names
        self.sensor_set = spec.sensor_set
        self._taken = None if columns == tuple(range(len(spec.sensors))) else np.array(columns)
        self._is_mean = spec.target == "mean"
        self.horizon = spec.horizon
        self.length_ms = round(spec.horizon * spec.period_seconds * 1000)
        self.row_bytes = READING_BYTES * len(columns)
        self.truth_bytes = spec.horizon * self.row_bytes
        patience = LATENESS * spec.window + spec.horizon
        self.patience_ms = patience * spec.period_seconds * 1000
        waiting = patience // spec.stride + WITNESSES + 1
        self.most_open = max(waiting, min(MOST_OPEN, MOST_VALUES // (spec.steps * len(columns))))
        reach = (patience + WITNESSES * spec.window) * self.row_bytes
        self.most_bytes = max(reach, MOST_VALUES * READING_BYTES)

    def rows(self, values: npt.NDArray[np.float32]) -> bytes:
        """Target readings of samples, float32 of shape (samples, sensors), as a block's rows."""
        if self._taken is not None:
            values = values.take(self._taken, axis=1)
        return values.tobytes()

    def truth(self, rows: bytes) -> bytes:
        """Make the truth of a horizon's readings, as in `Joined`.

        A target that misses more of the horizon than a window may has no truth (NaN).
        """
        samples = np.frombuffer(rows, "<f4").reshape(self.horizon, len(self.columns))
        if not self._is_mean:
            missing = np.isnan(samples)
            if not missing.any():
                return rows
            absent = self._lost(missing) / self.horizon > ABSENT_ABOVE
            return np.where(absent, np.float32(np.nan), samples).tobytes()
        wide = samples.astype(np.float64)
        sums: _Float64 = np.add.reduce(wide, 0)
        if not math.isnan(sum(sums.tolist())):
            sums /= self.horizon
            return sums.tobytes()
        missing = np.isnan(wide)
        np.copyto(wide, 0.0, where=missing)
        lost = self._lost(missing)
        means: _Float64 = np.add.reduce(wide, 0) / np.maximum(self.horizon - lost, 1)
        means[lost / self.horizon > ABSENT_ABOVE] = np.nan
        return means.tobytes()

    @staticmethod
    def _lost(missing: npt.NDArray[np.bool_]) -> npt.NDArray[np.intp]:
        """Samples that each target misses."""
        lost: npt.NDArray[np.intp] = np.add.reduce(missing, 0, np.intp)
        return lost


@lru_cache(maxsize=256)
def join_task(spec: ModelSpec) -> JoinTask:
    """What the join needs of a task."""
    return JoinTask(spec)
