"""Windows that a source must yield, and the truth of each: derived from its frame alone.

An independent implementation of the rule, not the producers' code: within an asset and a segment,
readings form a run while each is half a period to one and a half after the one before, and within
half a period of its place on the run's grid. A window starts every ``stride`` readings from the
run's first one, and only full windows count; of repeated times the first row counts. The truth of a
forecast is the ``horizon`` readings that follow in the same run.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt
import pandas as pd

from millrace.contracts.model_spec import ModelSpec

Float32 = npt.NDArray[np.float32]

#: Readings nearer or further apart than this, in periods, belong to different runs.
_NEAREST: Final = 0.5
_FURTHEST: Final = 1.5
#: So do readings that are this far off the grid of the run, in periods.
_OFF_GRID: Final = 0.5


@dataclass(frozen=True, eq=False)
class SourceWindow:
    """A window that must be sent.

    Attributes:
        asset: The machine.
        segment: The stretch of recording.
        start_ms: Event time of the first sample.
        end_ms: Event time where the forecast begins.
        values: float32 of shape (window, sensors), NaN where missing.
        truth: float32 of shape (horizon, sensors); None if the run ends before.
    """

    asset: str
    segment: str
    start_ms: int
    end_ms: int
    values: Float32
    truth: Float32 | None

    @property
    def key(self) -> tuple[str, str, int]:
        """Its unique key."""
        return self.asset, self.segment, self.start_ms


def source_windows(frame: pd.DataFrame, spec: ModelSpec) -> list[SourceWindow]:
    """Derive all windows of a frame.

    Args:
        frame: Readings as `producers.sources.opening.Recording.frame` gives them.
        spec: Sensors, period, window, horizon and stride.

    Returns:
        The windows, by the time of their completion.
    """
    found: list[SourceWindow] = []
    for (asset, segment), rows in frame.groupby(["asset", "segment"], sort=False):
        unique = rows[~rows["time"].duplicated(keep="first")].sort_values("time", kind="stable")
        times = unique["time"].astype("datetime64[ms, UTC]").astype("int64").tolist()
        values = unique[list(spec.sensors)].to_numpy(dtype=np.float32)
        found.extend(_of_runs(str(asset), str(segment), times, values, spec))
    found.sort(key=lambda window: (window.end_ms, window.asset, window.segment))
    return found


def _of_runs(
    asset: str,
    segment: str,
    times: list[int],
    values: Float32,
    spec: ModelSpec,
) -> Iterator[SourceWindow]:
    for first, last in _runs(times, spec.period_seconds * 1000):
        for at in range(first, last - spec.window + 1, spec.stride):
            middle, end = at + spec.window, at + spec.window + spec.horizon
            start_ms = times[first] + round((at - first) * spec.period_seconds * 1000)
            yield SourceWindow(
                asset,
                segment,
                start_ms,
                start_ms + spec.window_ms,
                values[at:middle],
                values[middle:end] if end <= last else None,
            )


def _runs(times: list[int], period: float) -> Iterator[tuple[int, int]]:
    """Yield the runs of readings; a run is [first, last)."""
    first = 0
    for here in range(1, len(times)):
        step = times[here] - times[here - 1]
        place = times[first] + (here - first) * period
        if (
            not _NEAREST * period <= step <= _FURTHEST * period
            or abs(times[here] - place) > _OFF_GRID * period
        ):
            yield first, here
            first = here
    if times:
        yield first, len(times)
