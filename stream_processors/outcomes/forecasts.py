"""The prequential join of one asset; one file, since all of it is one record of a snapshot.

Every accepted window opens a forecast and brings readings. A forecast's truth is the
horizon's readings in its own segment; it may come late, twice or never:

- late: readings are kept until no open forecast needs them, and a forecast waits until
  `WITNESSES` windows that came after its own lie more than `LATENESS` window lengths beyond
  its interval. So one window of a wrong clock does not end the wait of all others, and as
  many windows that lie as far before it end its own: it is its clock that was wrong. What
  came earlier says nothing, so a clock that is put right, or a backlog that comes late, is
  joined as any other stretch;
- twice: the first reading of a moment counts;
- never: after that wait the forecast is closed without an outcome.

Whether a forecast has truth is decided by the windows alone, and outcomes leave in the order
of the windows. So the outcomes, and everything learned from them, are the same however
predictions and windows interleave, and the same again when they are replayed. So is the book
itself once everything has come: it holds nothing that depends on how it came.

Memory. A book whose forecasts are answered promptly has one or two kilobytes and the values
of its latest forecast. While inference is behind it keeps truths, while windows are behind
predictions, while truth is late forecasts and readings, all as plain bytes. Its snapshot has
at most ``80 * MOST_OPEN + 24 * MOST_VALUES`` bytes, 3.5 MB, and that only if all of it happens
at once; more only where the forecasts that a task itself keeps waiting are more (a sequence
that is forecast far more often than its horizon is long). Live, each of these forecasts is
an object of some 250 bytes more.
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

#: Predictions of an asset that are kept until their windows come; later ones are dropped. This is
#: the last resort: while windows are still read, predictions wait before they get here
#: (`early_predictions`). Their values are `MOST_VALUES` at most.
MOST_EARLY: Final = 1024
#: Segments with longer names go by their digest.
LONGEST_NAME: Final = 64

_offset = attrgetter("offset")


class OpenForecast(msgspec.Struct, array_like=True, gc=False):
    """A forecast that waits.

    Attributes:
        offset: Source offset of its window.
        start_ms: Event time of the window's first sample.
        begins_ms: Event time of the first forecast sample.
        segment: The window's segment until it is decided, then empty.
        first: Slot of the first forecast sample: sampling periods from its segment's anchor.
        passed: Windows since that lay so far beyond it that its truth will not come.
        behind: Windows since that lay so far before it that its clock, not theirs, is wrong.
        closed: Whether it is known that there will be no truth.
        truth: The truth, once it is complete; as in `Joined`, when `Truths` are made.
        answer: The prediction, once it is there; None if it is closed.
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
        """Whether the windows have not said all about it yet."""
        return self.truth is None and not self.closed

    def settle(self, truth: bytes) -> None:
        """Take the truth."""
        self.truth = truth
        self.segment = ""

    def witness(self, *, late: bool) -> None:
        """Take note of a window far beyond it or, if not ``late``, far before it."""
        self.passed += late
        self.behind += not late
        if WITNESSES in (self.passed, self.behind):
            self.closed = True
            self.answer = None
            self.segment = ""


class Truths:
    """Truths that are complete, made together."""

    def __init__(self, task: JoinTask) -> None:
        """Start with none.

        Args:
            task: The task, the same one for all books that they are made for.
        """
        self.task = task
        self._forecasts: list[OpenForecast] = []
        self._readings: list[bytes] = []

    def add(self, forecast: OpenForecast, readings: bytes) -> None:
        """Take the readings of a forecast's horizon."""
        forecast.settle(readings)  # decided from now on
        self._forecasts.append(forecast)
        self._readings.append(readings)

    def make(self) -> None:
        """Turn the readings into truths."""
        if self._forecasts:
            made = self.task.truths(b"".join(self._readings))
            for forecast, truth in zip(self._forecasts, made, strict=True):
                forecast.truth = truth
        self._forecasts, self._readings = [], []


class ForecastBook(msgspec.Struct, array_like=True, gc=False):
    """An asset's open forecasts and the readings that they need; its own snapshot.

    Attributes:
        open: Open forecasts, in the order of their windows.
        early: Predictions whose windows have not come, and were not to be read when they
            came, by offset.
        readings: Readings by segment: of those that have an undecided forecast.
        decided: Number of forecasts at the head of ``open`` that are decided.
        answered_through: Source offset of the latest prediction. Predictions of an asset
            come in the order of their windows: up to there none is to come any more.
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
        """Take a window's readings and open its forecast.

        Args:
            rows: Its target readings, as `JoinTask.rows` makes them.
            start_ms: Event time of the first sample.
            end_ms: Event time one period after the last.
            segment: The window's segment.
            offset: Its source offset, larger than any before.
            truths: Takes the truths that are complete now. They are to be made before
                anything else is asked of the book than to add windows.
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
        """Whether there is nothing more to come of a forecast."""
        if forecast.closed or forecast.truth is None:
            return forecast.closed
        return forecast.answer is not None or forecast.offset <= self.answered_through

    def forget_clock(self) -> None:
        """Blank what depends on the wall clock, to compare with another run's book."""
        for answer in [*self.early, *(f.answer for f in self.open if f.answer is not None)]:
            answer.timestamp_ms = 0

    def give_up_oldest(self, excess: int) -> int:
        """Drop the oldest open forecasts, until so many bytes of a snapshot are gone.

        What is dropped has no outcome. Once no forecast is left, no reading is kept either.

        Returns:
            How many were dropped; 0 if there is none any more.
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
        """Whether a window begins where the one forecast does that is undecided, and decides it.

        So it is wherever windows do not overlap and none is missing.
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
        """Open a forecast whose window is next: what `_add` does, without looking around."""
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
            readings: Those of its segment.
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
        """Settle which open forecasts have their truth, or never will.

        Args:
            block: The readings that have grown.
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
        """Drop the oldest forecasts; what is `_needed` then."""
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
        """Bytes of readings."""
        return sum(len(b.rows) for readings in self.readings.values() for b in readings.blocks)


def _need(needed: dict[str, int], forecast: OpenForecast) -> None:
    """Note the first slot that a forecast needs, by segment."""
    first = needed.get(forecast.segment)
    if first is None or forecast.first < first:
        needed[forecast.segment] = forecast.first
