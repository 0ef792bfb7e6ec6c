"""Cuts readings into windows: pure, for a whole table at once or live, sample by sample.

A *run* is the longest stretch of samples of one asset and segment that lie on a grid: each
no more than `MAX_SPACING` periods after the one before it, and within half a period of its
place on the run's grid, start + i * period. Windows are cut from runs alone, full ones only,
one every ``stride`` samples from the run's first, so none crosses a gap or a segment. A window is
*due* at its end, one period after its last sample, which is when an edge could first send it.

>>> from millrace.contracts.model_spec import ModelSpec
>>> spec = ModelSpec("tank", ("level",), 1.0, window=2, horizon=1, stride=1)
>>> times = pd.to_datetime([0, 1000, 2000, 9000, 10000], unit="ms", utc=True)
>>> levels = np.arange(5, dtype="f4")
>>> frame = pd.DataFrame({"time": times, "asset": "tank-1", "segment": "", "level": levels})
>>> [(w.start_ms, w.values[:, 0].tolist()) for w in windows(frame, spec)]
[(0, [0.0, 1.0]), (1000, [1.0, 2.0]), (9000, [3.0, 4.0])]
"""

from collections.abc import Iterator, Sequence
from datetime import datetime
from itertools import pairwise
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pandas as pd

from millrace.contracts.clock import to_ms
from millrace.contracts.events.window import Float32, SensorWindow
from millrace.contracts.model_spec import ModelSpec
from millrace.producers.sources.position import order_of
from millrace.producers.sources.recording import ASSET, SEGMENT, TIME

#: Samples further apart than this many periods belong to different runs.
MAX_SPACING: Final = 1.5
#: So do samples that are nearer to each other than this many periods.
MIN_SPACING: Final = 0.5
#: How far from its place on the run's grid a sample may lie, periods.
MAX_SLIP: Final = 0.5

Int64 = npt.NDArray[np.int64]


def windows(frame: pd.DataFrame, spec: ModelSpec) -> list[SensorWindow]:
    """Cut a table of readings into windows.

    Args:
        frame: As `Recording.frame` returns it.
        spec: Sensors, period, window and stride.

    Returns:
        All full windows, by the time when they are due, then by asset and segment. Their
        values are views of one array.
    """
    times = frame[TIME].to_numpy("datetime64[ms]").astype(np.int64)
    values = np.ascontiguousarray(frame[list(spec.sensors)].to_numpy("float32"))
    assets, asset_names = pd.factorize(frame[ASSET], sort=True)
    segments, segment_names = pd.factorize(frame[SEGMENT], sort=True)
    order = np.lexsort((times, segments, assets))
    times, values = times[order], values[order]
    assets, segments = assets[order], segments[order]
    changes = np.flatnonzero((np.diff(assets) != 0) | (np.diff(segments) != 0)) + 1
    found: list[SensorWindow] = []
    for group in _pieces(0, len(times), changes):
        asset = str(asset_names[assets[group.start]])
        segment = str(segment_names[segments[group.start]])
        for run in runs(times[group], spec.period_seconds * 1000):
            origin = int(times[group.start + run.start])
            for first in range(0, run.stop - run.start - spec.window + 1, spec.stride):
                row = group.start + run.start + first
                found.append(
                    SensorWindow(
                        asset,
                        spec.sensors,
                        origin + round(first * spec.period_seconds * 1000),
                        spec.period_seconds,
                        values[row : row + spec.window],
                        segment,
                    )
                )
    found.sort(key=order_of)
    return found


def between(
    found: Sequence[SensorWindow], after: datetime | None, until: datetime | None
) -> list[SensorWindow]:
    """Keep the windows that are due in (after, until].

    So consecutive stretches neither share nor miss a window.
    """
    low = to_ms(after) if after is not None else -(1 << 62)
    high = to_ms(until) if until is not None else 1 << 62
    return [window for window in found if low < window.end_ms <= high]


def runs(times: Int64, period_ms: float) -> list[slice]:
    """Find the runs among the samples of one asset and segment.

    Args:
        times: Event times, int64 of shape (samples,), milliseconds, ascending, none twice.
        period_ms: Nominal time between samples.

    Returns:
        Slices in order, which together cover all samples.
    """
    spacing = np.diff(times)
    breaks = (
        np.flatnonzero((spacing > MAX_SPACING * period_ms) | (spacing < MIN_SPACING * period_ms))
        + 1
    )
    return [
        run for piece in _pieces(0, len(times), breaks) for run in _on_grid(times, piece, period_ms)
    ]


def _pieces(start: int, stop: int, breaks: npt.NDArray[np.intp]) -> Iterator[slice]:
    """Cut [start, stop) before each break."""
    edges = [start, *breaks.tolist(), stop]
    for first, last in pairwise(edges):
        if last > first:
            yield slice(first, last)


def _on_grid(times: Int64, piece: slice, period_ms: float) -> Iterator[slice]:
    """Cut evenly spaced samples again wherever they have slipped off the run's grid."""
    start = piece.start
    while start < piece.stop:
        here = times[start : piece.stop]
        slip = np.abs(here - here[0] - np.arange(len(here)) * period_ms)
        off = np.flatnonzero(slip > MAX_SLIP * period_ms)
        stop = start + int(off[0]) if len(off) else piece.stop
        yield slice(start, stop)
        start = stop


class LiveWindows:
    """Cuts the readings of one live asset into windows, by the same rule, as they come."""

    def __init__(self, asset: str, spec: ModelSpec) -> None:
        """Start without readings."""
        self._asset = asset
        self._spec = spec
        self._rows: list[Float32] = []
        self._origin = 0
        self._last = 0
        self._seen = 0
        self._segment = ""

    def add(
        self, time_ms: int, reading: npt.NDArray[np.floating[Any]], segment: str = ""
    ) -> SensorWindow | None:
        """Add a reading, which must be later than the previous one.

        Args:
            time_ms: Its event time, milliseconds UTC.
            reading: One value per sensor, NaN where missing.
            segment: Its segment; a new segment starts a run.

        Returns:
            The window that the reading completes, if any.
        """
        period = self._spec.period_seconds * 1000
        spacing = time_ms - self._last
        slip = abs(time_ms - self._origin - self._seen * period)
        if (
            self._seen == 0
            or segment != self._segment
            or not MIN_SPACING * period <= spacing <= MAX_SPACING * period
            or slip > MAX_SLIP * period
        ):
            self._rows, self._origin, self._seen = [], time_ms, 0
        self._last, self._segment = time_ms, segment
        self._rows = [*self._rows[-(self._spec.window - 1) :], np.array(reading, np.float32)]
        self._rows = self._rows[-self._spec.window :]
        self._seen += 1
        first = self._seen - self._spec.window
        if first < 0 or first % self._spec.stride:
            return None
        return SensorWindow(
            self._asset,
            self._spec.sensors,
            self._origin + round(first * period),
            self._spec.period_seconds,
            np.stack(self._rows),
            segment,
        )
