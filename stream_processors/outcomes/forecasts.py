"""The prequential join of one asset; one file, since all its state is one snapshot record.

Every accepted window opens a forecast and brings readings. A forecast's truth is the readings of
its horizon in its own segment. Truth may arrive late, twice or never:

- late: readings are kept until no open forecast needs them. A forecast stays open until `WITNESSES`
  later arrivals lie more than `LATENESS` window lengths beyond its interval, so a single window
  with a wrong clock does not close all other forecasts. If as many later arrivals lie that far
  before it, its own clock was wrong, and it is closed. Windows that arrived earlier do not count,
  so data after a clock correction and late backlogs are joined like all others;
- twice: the first reading of each point in time counts;
- never: the forecast is then closed without an outcome.

The windows alone decide whether a forecast has truth, and outcomes are written in the order of the
windows. So outcomes, and all state derived from them, do not depend on how predictions and windows
interleave, and are reproduced by a replay. The same holds for the book itself once all records have
arrived: it holds nothing that depends on their order of arrival.

Memory. A book whose predictions and truths arrive promptly takes one or two kilobytes plus the
values of its latest forecast. It keeps truths while inference lags, predictions while windows lag,
and forecasts and readings while truth is late, all as plain bytes. Its snapshot is at most 3.5 MB,
``80 * MOST_OPEN + 24 * MOST_VALUES`` bytes, reached only if all three happen at once. It is larger
only if the task itself needs more open forecasts (a sequence that is forecast far more often than
its horizon is long). In memory, each open forecast is an object of some 250 bytes more.
"""

from __future__ import annotations

from bisect import bisect_left
from operator import attrgetter
from typing import Final

import msgspec

from millrace.contracts.events.prediction import Prediction
from millrace.contracts.ids import digest_of
from millrace.stream_processors.outcomes.join_task import (
    MOST_VALUES,
    READING_BYTES,
    WITNESSES,
    JoinTask,
)
from millrace.stream_processors.outcomes.readings import Block, Readings, slot
from millrace.stream_processors.outcomes.stored_prediction import Joined, StoredPrediction

#: Most predictions of an asset that are stored until their windows arrive; further ones are
#: dropped. This is the last resort: while windows are still being read, predictions are deferred
#: before they get here (`early_predictions`). They have at most `MOST_VALUES` values.
MOST_EARLY: Final = 1024
#: Segment names longer than this are replaced with their digest.
LONGEST_NAME: Final = 64

_offset = attrgetter("offset")


class OpenForecast(msgspec.Struct, array_like=True, gc=False):
    """A forecast that has no outcome yet.

    Attributes:
        offset: Source offset of its window.
        start_ms: Event time of the window's first sample.
        begins_ms: Event time of the first forecast sample.
        segment: The window's segment; empty once the forecast is decided.
        first: Slot of the first forecast sample: sampling periods from its segment's anchor.
        passed: Later windows so far beyond it that its truth is not expected any more.
        behind: Later windows so far before it that its own clock must be wrong.
        closed: Whether it is decided that there is no truth.
        truth: The truth, once it is complete; as in `Joined` after `Truths.make`.
        answer: The prediction, once it has arrived; None if the forecast is closed.
    """

    offset: int
    start_ms: int
    begins_ms: int
    segment: str
    first: int
    passed: int = 0
    behind: int = 0
    closed: bool = False
    truth: bytes | None = None
    answer: StoredPrediction | None = None

    @property
    def is_open(self) -> bool:
        """Whether it is undecided: neither complete nor closed."""
        return self.truth is None and not self.closed

    def settle(self, truth: bytes) -> None:
        """Set the truth."""
        self.truth = truth
        self.segment = ""

    def witness(self, *, late: bool) -> None:
        """Count a window far beyond the forecast or, if not ``late``, far before it."""
        self.passed += late
        self.behind += not late
        if WITNESSES in (self.passed, self.behind):
            self.closed = True
            self.answer = None
            self.segment = ""


class Truths:
    """Complete truths, computed together."""

    def __init__(self, task: JoinTask) -> None:
        """Start with none.

        Args:
            task: The task; all books of one instance share it.
        """
        self.task = task
        self._forecasts: list[OpenForecast] = []
        self._readings: list[bytes] = []

    def add(self, forecast: OpenForecast, readings: bytes) -> None:
        """Add the readings of a forecast's horizon."""
        forecast.settle(readings)  # decided from now on
        self._forecasts.append(forecast)
        self._readings.append(readings)

    def make(self) -> None:
        """Compute the truths from the readings."""
        if self._forecasts:
            made = self.task.truths(b"".join(self._readings))
            for forecast, truth in zip(self._forecasts, made, strict=True):
                forecast.truth = truth
        self._forecasts, self._readings = [], []


class ForecastBook(msgspec.Struct, array_like=True, gc=False):
    """An asset's open forecasts and the readings that they need; its own snapshot.

    Attributes:
        open: Open forecasts, in the order of their windows.
        early: By offset, predictions that arrived before their windows, when those were not in the
            range to be read.
        readings: Readings by segment, for segments with an undecided forecast.
        decided: Number of forecasts at the head of ``open`` that are decided.
        answered_through: Source offset of the latest prediction. Predictions of an asset arrive in
            the order of their windows, so none at or below it will follow.
    """

    open: list[OpenForecast] = []
    early: list[StoredPrediction] = []
    readings: dict[str, Readings] = {}
    decided: int = 0
    answered_through: int = -1

    def add_window(
        self,
        rows: bytes,
        start_ms: int,
        end_ms: int,
        segment: str,
        offset: int,
        truths: Truths,
    ) -> None:
        """Add a window's readings and open its forecast.

        Args:
            rows: Its target readings, as `JoinTask.rows` makes them.
            start_ms: Event time of the first sample.
            end_ms: Event time one period after the last.
            segment: The window's segment.
            offset: Its source offset, larger than any before.
            truths: Receives the truths that are now complete. Call `Truths.make` before any method
                of the book other than this one.
        """
        task = truths.task
        if len(segment) > LONGEST_NAME:
            segment = digest_of(segment)
        readings = self.readings.get(segment)
        anchor = start_ms if readings is None else readings.anchor
        start = slot(start_ms - anchor, task.period_ms)
        first = start + len(rows) // task.row_bytes
        forecast = OpenForecast(offset, start_ms, end_ms, segment, first)
        if readings is not None and self._is_next(readings, start, len(rows), task):
            self._follow(forecast, rows, readings, truths)
        else:
            self._add(forecast, rows, start, readings or Readings(anchor, first), truths)
        while self.early and self.early[0].offset <= offset:
            self._attach(self.early.pop(0))

    def add_prediction(self, prediction: Prediction, windows_through: int) -> None:
        """Attach a prediction to its forecast.

        Args:
            prediction: The prediction.
            windows_through: Offset of the last window that was added.
        """
        answer = StoredPrediction.of(prediction)
        if answer.offset <= windows_through:
            self._attach(answer)
            return
        values = (len(answer.forecast) + len(answer.persistence)) // READING_BYTES
        if len(self.early) < min(MOST_EARLY, MOST_VALUES // max(1, values)):
            place = bisect_left(self.early, answer.offset, key=_offset)
            again = self.early[place : place + 1]
            known = bool(again) and again[0].offset == answer.offset
            self.early[place : place + known] = [answer]

    @property
    def begins_settled(self) -> bool:
        """Whether `take_resolved` would remove anything."""
        return bool(self.open) and self._is_settled(self.open[0])

    def take_resolved(self) -> list[Joined]:
        """Remove the forecasts that are settled, oldest first, up to the first that is not.

        Returns:
            Those that have a prediction and their truth.
        """
        resolved = []
        taken = 0
        for forecast in self.open:
            if not self._is_settled(forecast):
                break
            truth, answer = forecast.truth, forecast.answer
            if truth is not None and answer is not None:
                resolved.append(
                    Joined(forecast.start_ms, forecast.begins_ms, truth, answer, forecast.segment)
                )
            taken += 1
        if taken:
            del self.open[:taken]
            self.decided -= taken
        return resolved

    def _is_settled(self, forecast: OpenForecast) -> bool:
        """Whether a forecast needs no further record."""
        if forecast.closed or forecast.truth is None:
            return forecast.closed
        return forecast.answer is not None or forecast.offset <= self.answered_through

    def forget_clock(self) -> None:
        """Clear fields that depend on the wall clock, to compare the book with another run's."""
        for answer in [*self.early, *(f.answer for f in self.open if f.answer is not None)]:
            answer.timestamp_ms = 0

    def give_up_oldest(self, excess: int) -> int:
        """Drop the oldest open forecasts, until the snapshot is smaller by ``excess`` bytes.

        Dropped forecasts have no outcome. Without open forecasts, no readings are kept either.

        Returns:
            Number of dropped forecasts; 0 if none was open.
        """
        count = freed = 0
        for forecast in self.open:
            if freed >= excess:
                break
            answer = forecast.answer
            held = 0 if answer is None else len(answer.forecast) + len(answer.persistence)
            freed += held + len(forecast.truth or b"")
            count += 1
        needed = self._give_up(count)
        for segment in self.readings.keys() - needed.keys():
            del self.readings[segment]
        return count

    def _is_next(self, readings: Readings, start: int, size: int, task: JoinTask) -> bool:
        """Whether a window starts where the only undecided forecast starts, and so decides it.

        This is the common case: windows do not overlap and none is missing.
        """
        return (
            self.decided == len(self.open) - 1
            and self.open[self.decided].first == start
            and not readings.blocks
            and len(self.readings) == 1
            and size >= task.horizon_bytes
        )

    def _follow(
        self, forecast: OpenForecast, rows: bytes, readings: Readings, truths: Truths
    ) -> None:
        """Fast path of `_add` for a window for which `_is_next` holds."""
        task = truths.task
        truths.add(self.open[self.decided], rows[: task.horizon_bytes])
        self.decided += 1
        self.open.append(forecast)
        readings.needed = forecast.first
        excess = len(self.open) - task.most_open
        if excess > 0:
            self._give_up(excess)

    def _add(
        self,
        forecast: OpenForecast,
        rows: bytes,
        start: int,
        readings: Readings,
        truths: Truths,
    ) -> None:
        """Open a forecast, and keep the readings of its window that are needed.

        Args:
            forecast: The forecast.
            rows: Target readings of its window.
            start: Slot of the first.
            readings: The readings of its segment.
            truths: Takes the truths that are complete now.
        """
        task, segment = truths.task, forecast.segment
        self.readings[segment] = readings
        readings.needed = min(readings.needed, forecast.first)
        block = readings.add(start, rows, task.row_bytes)
        self.open.append(forecast)
        needed = self._decide(block, segment, truths)
        excess = len(self.open) - task.most_open
        if excess > 0:
            needed = self._give_up(excess)
        self._forget(needed, task.row_bytes)
        while readings.blocks and self._kept_bytes() > task.most_bytes:
            self._forget(self._give_up(self.decided + 1), task.row_bytes)

    def _attach(self, answer: StoredPrediction) -> None:
        """Give a forecast its prediction."""
        offset = answer.offset
        self.answered_through = max(self.answered_through, offset)
        place = bisect_left(self.open, offset, key=_offset)
        if place < len(self.open):
            forecast = self.open[place]
            if forecast.offset == offset and not forecast.closed:
                forecast.answer = answer

    def _decide(self, block: Block | None, segment: str, truths: Truths) -> dict[str, int]:
        """Decide which open forecasts have their truth, or never will.

        Args:
            block: The block of readings that was extended.
            segment: Their segment.
            truths: Takes the truths.

        Returns:
            First slot that is still needed, by segment.
        """
        task = truths.task
        rows, low, high = b"", 0, -1
        if block is not None:
            rows, low = block.rows, block.first
            high = low + len(rows) // task.row_bytes - task.horizon
        here = self.open[-1].begins_ms
        too_early, too_late = here - task.patience_ms, here + task.patience_ms
        needed: dict[str, int] = {}
        for forecast in self.open[self.decided :]:
            if forecast.is_open:
                begins_ms, first = forecast.begins_ms, forecast.first
                if low <= first <= high and forecast.segment == segment:
                    begin = (first - low) * task.row_bytes
                    truths.add(forecast, rows[begin : begin + task.horizon_bytes])
                elif begins_ms < too_early or begins_ms > too_late:
                    forecast.witness(late=begins_ms < too_early)
                if forecast.is_open:
                    _need(needed, forecast)
                    continue
            if not needed:
                self.decided += 1
        return needed

    def _needed(self) -> dict[str, int]:
        """Pass over the decided forecasts; first slot that the rest need, by segment."""
        needed: dict[str, int] = {}
        for forecast in self.open[self.decided :]:
            if forecast.is_open:
                _need(needed, forecast)
            elif not needed:
                self.decided += 1
        return needed

    def _give_up(self, count: int) -> dict[str, int]:
        """Drop the oldest forecasts; returns the result of `_needed` afterwards."""
        del self.open[:count]
        self.decided = max(0, self.decided - count)
        return self._needed()

    def _forget(self, needed: dict[str, int], row_bytes: int) -> None:
        """Drop readings that no open forecast can need."""
        if len(needed) != len(self.readings):
            for segment in self.readings.keys() - needed.keys():
                del self.readings[segment]
        for segment, first in needed.items():
            readings = self.readings[segment]
            if first > readings.needed:
                readings.trim(first, row_bytes)

    def _kept_bytes(self) -> int:
        """Size of the kept readings, bytes."""
        return sum(len(b.rows) for readings in self.readings.values() for b in readings.blocks)


def _need(needed: dict[str, int], forecast: OpenForecast) -> None:
    """Lower a segment's first needed slot to that of a forecast."""
    first = needed.get(forecast.segment)
    if first is None or forecast.first < first:
        needed[forecast.segment] = forecast.first
