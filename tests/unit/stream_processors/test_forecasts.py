"""The join of forecasts with their truth: late, twice, never, and in whatever order."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from contracts.prediction import Prediction
from contracts.window import SensorWindow
from stream_processors.asset import Asset
from stream_processors.forecasts import (
    LATENESS,
    MOST_EARLY,
    MOST_OPEN,
    MOST_VALUES,
    ForecastBook,
    Row,
)
from tests.builders import prediction_of, pump_spec, pump_window, reading

SPEC = pump_spec()
Resolved = list[tuple[int, list[Row]]]


def truth_at(first: int, steps: int = SPEC.horizon) -> list[Row]:
    """The readings that the pump's target sensors show from a moment on."""
    return [
        tuple(float(np.float32(reading(column, first + step))) for column in SPEC.target_columns)
        for step in range(steps)
    ]


class Join:
    """A book as the processor uses it: windows by offset, and what has been resolved."""

    def __init__(self) -> None:
        self.asset = Asset()
        self.resolved: Resolved = []

    def window(self, window: SensorWindow, offset: int) -> None:
        """Take a window."""
        self.asset.windows_through = offset
        self.asset.forecasts.add_window(window, offset, SPEC)
        self._take()

    def prediction(self, prediction: Prediction) -> None:
        """Take a prediction."""
        self.asset.forecasts.add_prediction(prediction, self.asset.windows_through)
        self._take()

    def restart(self) -> None:
        """Snapshot and restore."""
        self.asset = Asset.restore(self.asset.snapshot())

    def _take(self) -> None:
        taken = self.asset.forecasts.take_resolved()
        self.resolved += [(prediction.source.offset, truth) for prediction, truth in taken]


def test_truth_of_later_windows_settles_a_forecast() -> None:
    """A forecast is settled when later windows have covered its interval, not before."""
    join = Join()
    for offset in range(3):
        window = pump_window(offset * SPEC.stride)
        join.window(window, offset)
        join.prediction(prediction_of(window, offset))
        # Windows of 6 every 3: the next one covers the 3 samples after this one.
        assert [found for found, _ in join.resolved] == list(range(offset))
    assert join.resolved[0] == (0, truth_at(6))
    assert join.resolved[1] == (1, truth_at(9))


def test_late_truth_settles_it_too() -> None:
    """A window that comes after its successors still completes an interval."""
    join = Join()
    for offset, first in enumerate([0, 12, 18, 6]):
        window = pump_window(first)
        join.window(window, offset)
        join.prediction(prediction_of(window, offset))
    assert (0, truth_at(6)) in join.resolved


def test_first_reading_of_a_moment_counts() -> None:
    """Truth that comes twice, and differs, is the truth that came first."""
    join = Join()
    first = pump_window(0)
    join.window(first, 0)
    join.window(pump_window(2), 1)
    join.window(pump_window(3, values=np.full((6, 3), 99.0, np.float32)), 2)
    join.window(pump_window(6), 3)
    join.prediction(prediction_of(first, 0))
    assert join.resolved[0] == (0, [*truth_at(6, steps=2), (99.0, 99.0)])


def test_truth_that_never_comes_closes_the_forecast() -> None:
    """After a gap the forecast before it gets no outcome, and holds up no other for longer."""
    join = Join()
    far = 7 + SPEC.horizon + LATENESS * SPEC.window
    for offset, first in enumerate([0, far, far + 3, far + 6]):
        assert join.resolved == []
        window = pump_window(first)
        join.window(window, offset)
        join.prediction(prediction_of(window, offset))
    assert [offset for offset, _ in join.resolved] == [1, 2]
    assert join.resolved[0] == (1, truth_at(far + 6))


def test_one_wrong_clock_stops_no_outcomes() -> None:
    """A window from the future ends no wait, and holds up the others for three windows only."""
    join = Join()
    for offset, first in enumerate([0, 100_000, 3, 6, 9, 12, 15, 18]):
        window = pump_window(first)
        join.window(window, offset)
        join.prediction(prediction_of(window, offset))
    assert [offset for offset, _ in join.resolved] == [0, 2, 3, 4, 5, 6]


def test_another_segment_is_no_truth() -> None:
    """Readings of another segment cover the same moments and count for nothing."""
    join = Join()
    window = pump_window(0, segment="run-1")
    join.window(window, 0)
    join.prediction(prediction_of(window, 0))
    for offset in range(1, 4):
        join.window(pump_window(3 * offset, segment="run-2"), offset)
    assert join.resolved == []


def test_forecast_without_a_prediction_is_passed_over() -> None:
    """Once a later prediction is there, a forecast that got none is waited for no more."""
    join = Join()
    windows = [pump_window(3 * offset) for offset in range(4)]
    for offset, window in enumerate(windows):
        join.window(window, offset)
    join.prediction(prediction_of(windows[1], 1))
    assert join.resolved == [(1, truth_at(9))]


def test_absent_target_has_no_truth() -> None:
    """A target that misses more of the horizon than the rule allows is None; others are not."""
    join = Join()
    first = pump_window(0)
    later = pump_window(6).values.copy()
    later[0:2, 2] = np.nan
    join.window(first, 0)
    join.window(pump_window(6, values=later), 1)
    join.prediction(prediction_of(first, 0))
    rows = join.resolved[0][1]
    assert [row[1] for row in rows] == [None, None, None]
    assert [row[0] for row in rows] == [row[0] for row in truth_at(6)]


def test_truth_of_a_mean_is_the_mean_of_what_was_measured() -> None:
    """The mean over the horizon leaves out the samples that are missing."""
    spec = pump_spec(target="mean", window=8, horizon=4, stride=4, targets=("flow",))
    values = np.zeros((8, 3), np.float32)
    values[:4, 0] = [1.0, np.nan, 2.0, 6.0]
    book = ForecastBook()
    first = pump_window(0, spec=spec)
    book.add_window(first, 0, spec)
    book.add_window(pump_window(8, spec=spec, values=values), 1, spec)
    book.add_prediction(prediction_of(first, 0, spec=spec), 1)
    assert [truth for _, truth in book.take_resolved()] == [[(3.0,)]]


@pytest.mark.parametrize("jitter_ms", [-29_000, 0, 29_000])
def test_moments_are_rounded_to_the_period(jitter_ms: int) -> None:
    """A device whose clock is off by less than half a period still gives truth."""
    join = Join()
    first = pump_window(0)
    join.window(first, 0)
    later = pump_window(3)
    shifted = SensorWindow(
        later.asset, later.sensors, later.start_ms + jitter_ms, later.period_seconds, later.values
    )
    join.window(shifted, 1)
    join.prediction(prediction_of(first, 0))
    assert join.resolved == [(0, truth_at(6))]


def test_predictions_that_come_before_their_windows_wait() -> None:
    """After a restart predictions may be read first: the outcomes are those of any order."""
    windows = [pump_window(3 * offset) for offset in range(5)]
    join = Join()
    for offset, window in enumerate(windows):
        if offset != 2:  # this one got none
            join.prediction(prediction_of(window, offset))
    for offset, window in enumerate(windows):
        join.window(window, offset)
    assert [offset for offset, _ in join.resolved] == [0, 1, 3]
    assert join.asset.forecasts.early == {}


# Any order


@dataclass(frozen=True)
class Story:
    """Windows in their order, which of them get a prediction, and when those come."""

    windows: tuple[SensorWindow, ...]
    answered: tuple[bool, ...]


@st.composite
def stories(draw: st.DrawFn) -> Story:
    """Windows with gaps, late ones and segments; some are never predicted."""
    places = draw(st.lists(st.integers(0, 25), min_size=1, max_size=25, unique=True))
    in_order = sorted(places)
    for _ in range(draw(st.integers(0, 3))):  # some come late
        late = in_order.pop(draw(st.integers(0, len(in_order) - 1)))
        in_order.insert(draw(st.integers(0, len(in_order))), late)
    change = draw(st.integers(0, 26))
    windows = tuple(
        pump_window(3 * place, segment="a" if place < change else "b") for place in in_order
    )
    answered = draw(st.lists(st.booleans(), min_size=len(windows), max_size=len(windows)))
    return Story(windows, tuple(answered))


def play(story: Story, order: Sequence[bool], restart_at: int = -1) -> Join:
    """Merge windows (True) and predictions (False) in an order, each in its own order."""
    join = Join()
    windows = list(enumerate(story.windows))
    predictions = [
        prediction_of(window, offset)
        for offset, window in enumerate(story.windows)
        if story.answered[offset]
    ]
    choices = iter(order)
    step = 0
    while windows or predictions:
        if step == restart_at:
            join.restart()
        step += 1
        takes_window = next(choices, True)
        if windows and (takes_window or not predictions):
            offset, window = windows.pop(0)
            join.window(window, offset)
        else:
            join.prediction(predictions.pop(0))
    return join


@settings(max_examples=200)
@given(story=stories(), order=st.lists(st.booleans(), max_size=60), restart_at=st.integers(-1, 60))
def test_interleaving_and_restarts_change_nothing(
    story: Story, order: list[bool], restart_at: int
) -> None:
    """However predictions and windows interleave, and wherever the worker restarts, the
    outcomes, and their order, are those of predictions that come after all windows.
    """  # noqa: D205  (one sentence)
    expected = play(story, [True] * len(story.windows))
    found = play(story, order, restart_at)
    assert found.resolved == expected.resolved
    assert found.asset.snapshot() == expected.asset.snapshot()


@given(story=stories())
def test_outcomes_leave_in_the_order_of_windows_and_once(story: Story) -> None:
    """Outcomes come in the order of their windows, each at most once, only for answered ones."""
    offsets = [offset for offset, _ in play(story, []).resolved]
    assert offsets == sorted(set(offsets))
    assert all(story.answered[offset] for offset in offsets)


# Memory


def test_memory_is_bounded_without_predictions() -> None:
    """If inference stays away, the oldest forecasts are dropped, and a snapshot fits a record."""
    join = Join()
    values = pump_window(0).values
    for offset in range(MOST_OPEN + 500):
        join.window(pump_window(3 * offset, values=values), offset)
    book = join.asset.forecasts
    assert len(book.open) == MOST_OPEN
    assert book.open[0].offset == 500
    assert len(join.asset.snapshot()) < 1 << 20


def test_memory_is_bounded_for_long_forecasts() -> None:
    """The longer a forecast, the fewer wait: values are what is counted."""
    spec = pump_spec(window=512, horizon=1024, stride=512)
    book = ForecastBook()
    for offset in range(200):
        book.add_window(pump_window(512 * offset, spec=spec), offset, spec)
        book.take_resolved()
    assert len(book.open) == MOST_VALUES // (1024 * 2)


def test_memory_is_bounded_without_windows() -> None:
    """Predictions whose windows do not come are not collected for ever."""
    join = Join()
    window = pump_window(0)
    for offset in range(MOST_EARLY + 10):
        join.prediction(prediction_of(window, offset))
    assert len(join.asset.forecasts.early) == MOST_EARLY


def test_a_long_lag_of_inference_loses_nothing() -> None:
    """Windows of a whole batch may come before their first prediction: all get outcomes."""
    join = Join()
    windows = [pump_window(3 * offset) for offset in range(3000)]
    for offset, window in enumerate(windows):
        join.window(window, offset)
    for offset, window in enumerate(windows):
        join.prediction(prediction_of(window, offset))
    assert [offset for offset, _ in join.resolved] == list(range(2999))


def test_settled_forecasts_leave_nothing_behind() -> None:
    """In a steady run readings and forecasts stay as few as the task needs."""
    join = Join()
    for offset in range(300):
        window = pump_window(3 * offset)
        join.window(window, offset)
        join.prediction(prediction_of(window, offset))
    book = join.asset.forecasts
    assert len(book.open) == 1
    assert sum(map(len, book.readings.values())) <= SPEC.window
    assert book.early == {}
