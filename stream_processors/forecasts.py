"""Forecasts that wait for their truth: the prequential join of one asset.

Every accepted window opens a forecast and brings readings. A forecast's truth is the
horizon's readings in its own segment; it may come late, twice or never:

- late: readings are kept until no open forecast needs them, and a forecast waits until the
  asset's event time has passed its interval by `LATENESS` window lengths, as `WITNESSES`
  windows say. So one window of a wrong clock does not end the wait of all others, and as
  many windows that lie far before it end its own;
- twice: the first reading of a moment counts;
- never: after that wait the forecast is closed without an outcome.

Whether a forecast has truth is decided by the windows alone, and outcomes leave in the order
of the windows. So the outcomes, and everything learned from them, are the same however
predictions and windows interleave, and the same again when they are replayed.
"""

from __future__ import annotations

import math
from typing import Final

import msgspec
import numpy as np
import numpy.typing as npt

from contracts.missing import ABSENT_ABOVE
from contracts.model_spec import ModelSpec
from contracts.prediction import Prediction
from contracts.window import SensorWindow

#: Wait for late readings, in window lengths beyond the forecast's end.
LATENESS: Final = 3
#: Windows that have to have passed a forecast's interval before it is given up.
WITNESSES: Final = 3
#: Open forecasts, and values of truth kept for them, per asset: how far inference may fall
#: behind. Beyond either the oldest are dropped without an outcome, so that an asset's
#: snapshot fits into a record of the changelog.
MOST_OPEN: Final = 4096
MOST_VALUES: Final = 1 << 17
#: Predictions that wait for their windows, per asset; later ones are passed over.
MOST_EARLY: Final = 1024

Row = tuple[float | None, ...]


class OpenForecast(msgspec.Struct):
    """A forecast that waits.

    Attributes:
        offset: Source offset of its window.
        segment: The window's segment.
        first: Slot of the first forecast sample: sampling periods from its segment's anchor.
        begins_ms: Event time of the same.
        truth: The truth, one row per step, once it is complete.
        closed: Whether it is known that there will be no truth.
        prediction: The prediction, once it is there.
        unanswered: Whether it is known that there will be no prediction.
        behind: Later windows that lay so far before it that its clock, not theirs, is wrong.
    """

    offset: int
    segment: str
    first: int
    begins_ms: int
    truth: list[Row] | None = None
    closed: bool = False
    prediction: Prediction | None = None
    unanswered: bool = False
    behind: int = 0

    @property
    def is_decided(self) -> bool:
        """Whether the windows have said all about it."""
        return self.closed or self.truth is not None

    @property
    def is_settled(self) -> bool:
        """Whether nothing more is to come."""
        answered = self.unanswered or self.prediction is not None
        return self.closed or (self.truth is not None and answered)


class ForecastBook(msgspec.Struct):
    """An asset's open forecasts and the readings that they need.

    Attributes:
        open: Open forecasts, in the order of their windows.
        early: Predictions whose windows have not been taken again yet, after a restart.
        readings: Target readings by segment and slot.
        anchors: By segment, the event time that its slots are counted from. Counting from a
            window's own start keeps rounding away from the middle between two slots.
        latest_ends: Ends of the windows that reach furthest, ascending, milliseconds UTC.
        decided: Number of forecasts at the head of ``open`` that are decided.
    """

    open: list[OpenForecast] = []
    early: dict[int, Prediction] = {}
    readings: dict[str, dict[int, Row]] = {}
    anchors: dict[str, int] = {}
    latest_ends: list[int] = []
    decided: int = 0

    def add_window(self, window: SensorWindow, offset: int, spec: ModelSpec) -> None:
        """Take a window's readings and open its forecast."""
        anchor = self.anchors.setdefault(window.segment, window.start_ms)
        start = slot(window.start_ms - anchor, spec.period_seconds)
        rows = self.readings.setdefault(window.segment, {})
        for index, row in enumerate(_target_rows(window.values, spec)):
            rows.setdefault(start + index, row)
        self.latest_ends = sorted([*self.latest_ends, window.end_ms])[-WITNESSES:]
        end = start + len(window.values)
        self.open.append(OpenForecast(offset, window.segment, end, window.end_ms))
        self._decide(spec)
        self._limit(spec)
        early = self.early.pop(offset, None)
        if early is not None:
            self._attach(early)

    def add_prediction(self, prediction: Prediction, windows_through: int) -> None:
        """Attach a prediction to its forecast.

        Args:
            prediction: The prediction.
            windows_through: Offset of the last window that was added.
        """
        if prediction.source.offset <= windows_through:
            self._attach(prediction)
        elif len(self.early) < MOST_EARLY:
            self.early[prediction.source.offset] = prediction

    def take_resolved(self) -> list[tuple[Prediction, list[Row]]]:
        """Remove the forecasts that are settled, oldest first, up to the first that is not.

        Returns:
            Predictions that have their truth.
        """
        resolved = []
        taken = 0
        for forecast in self.open:
            if not forecast.is_settled:
                break
            taken += 1
            if forecast.truth is not None and forecast.prediction is not None:
                resolved.append((forecast.prediction, forecast.truth))
        self._drop(taken)
        self._forget()
        return resolved

    def _attach(self, prediction: Prediction) -> None:
        """Give a forecast its prediction.

        Predictions of an asset come in the order of their windows: those before it that
        have none will never get one.
        """
        offset = prediction.source.offset
        for forecast in self.open:
            if forecast.offset > offset:
                break
            if forecast.offset == offset:
                forecast.prediction = prediction
            elif forecast.prediction is None:
                forecast.unanswered = True

    def _decide(self, spec: ModelSpec) -> None:
        """Settle which open forecasts have their truth, or never will."""
        patience = _patience(spec) * spec.period_seconds * 1000
        here = self.open[-1].begins_ms
        given_up = self.latest_ends[0] if len(self.latest_ends) == WITNESSES else -math.inf
        for forecast in self.open[self.decided :]:
            if not forecast.is_decided:
                rows = self.readings.get(forecast.segment, {})
                forecast.truth = _truth(rows, forecast.first, spec)
                forecast.behind += here < forecast.begins_ms - patience
                hopeless = forecast.begins_ms < given_up - patience or forecast.behind == WITNESSES
                forecast.closed = forecast.truth is None and hopeless
        while self.decided < len(self.open) and self.open[self.decided].is_decided:
            self.decided += 1

    def _limit(self, spec: ModelSpec) -> None:
        """Drop the oldest forecasts if there is more to remember than there may be.

        Those that can still wait for their truth are never too many.
        """
        values = spec.steps * len(spec.target_columns)
        waiting = _patience(spec) // spec.stride + WITNESSES + 1
        most = max(waiting, min(MOST_OPEN, MOST_VALUES // values))
        self._drop(max(0, len(self.open) - most))

    def _drop(self, count: int) -> None:
        """Remove the oldest forecasts."""
        del self.open[:count]
        self.decided = max(0, self.decided - count)

    def _forget(self) -> None:
        """Drop readings that no open forecast can need."""
        needed: dict[str, int] = {}
        for forecast in self.open[self.decided :]:
            if not forecast.is_decided:
                needed[forecast.segment] = min(
                    forecast.first, needed.get(forecast.segment, forecast.first)
                )
        for segment in list(self.readings):
            if segment not in needed:
                del self.readings[segment], self.anchors[segment]
                continue
            rows = self.readings[segment]
            for moment in [m for m in rows if m < needed[segment]]:
                del rows[moment]


def slot(elapsed_ms: int, period_seconds: float) -> int:
    """Elapsed event time in sampling periods, rounded: so readings of two windows meet.

    >>> [slot(ms, 1 / 60) for ms in (0, 17, 33, 50)]
    [0, 1, 2, 3]
    """
    return round(elapsed_ms / (period_seconds * 1000))


def _patience(spec: ModelSpec) -> int:
    """Samples that a forecast waits for its truth, from its first one."""
    return LATENESS * spec.window + spec.horizon


def _target_rows(values: npt.NDArray[np.float32], spec: ModelSpec) -> list[Row]:
    """Target readings of a window; None where missing."""
    targets = values[:, list(spec.target_columns)].tolist()
    return [tuple(None if x != x else x for x in row) for row in targets]


def _truth(rows: dict[int, Row], first: int, spec: ModelSpec) -> list[Row] | None:
    """Assemble the truth of a forecast, or None while a sample of its interval is missing.

    A target that misses more of the horizon than a window may has no truth (None).
    """
    horizon = [rows.get(first + step) for step in range(spec.horizon)]
    if any(row is None for row in horizon):
        return None
    samples = np.array([[np.nan if x is None else x for x in row or ()] for row in horizon])
    absent = np.isnan(samples).mean(axis=0) > ABSENT_ABOVE
    samples[:, absent] = np.nan
    if spec.target == "mean":
        counts = np.maximum((~np.isnan(samples)).sum(axis=0), 1)
        means = np.nansum(samples, axis=0) / counts
        samples = np.where(absent, np.nan, means)[None, :]
    return [tuple(None if x != x else x for x in row) for row in samples.tolist()]
