"""The join of forecasts with their truth: late, twice, never, and in whatever order."""

import math
import tracemalloc
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from millrace.contracts.events.prediction import Prediction
from millrace.contracts.events.window import SensorWindow
from millrace.contracts.missing import ABSENT_ABOVE
from millrace.contracts.model_spec import ModelSpec
from millrace.stream_processors.outcomes.forecasts import (
    LONGEST_NAME,
    MOST_EARLY,
    ForecastBook,
    Truths,
)
from millrace.stream_processors.outcomes.join_task import (
    LATENESS,
    MOST_OPEN,
    MOST_VALUES,
    WITNESSES,
    JoinTask,
    join_task,
)
from millrace.stream_processors.outcomes.stored_prediction import Joined
from tests.builders import START_MS, prediction_of, pump_spec, pump_window, reading

SPEC = pump_spec()
Row = tuple[float | None, ...]
Resolved = list[tuple[int, list[Row]]]


def truth_at(first: int, steps: int = SPEC.horizon) -> list[Row]:
    """The readings that the pump's target sensors show from a moment on."""
    return [
        tuple(float(np.float32(reading(column, first + step))) for column in SPEC.target_columns)
        for step in range(steps)
    ]


def rows_of(joined: Joined, spec: ModelSpec) -> list[Row]:
    """A truth as rows, None where there is none."""
    rows = joined.measured(spec).tolist()
    return [tuple(None if math.isnan(x) else x for x in row) for row in rows]


def kept_bytes(book: ForecastBook) -> int:
    """Bytes of the readings that a book has."""
    return sum(len(block.rows) for kept in book.readings.values() for block in kept.blocks)


def add_window(book: ForecastBook, window: SensorWindow, offset: int, spec: ModelSpec) -> None:
    """Take a window, a block of its own."""
    truths = Truths(join_task(spec))
    (rows,) = truths.task.rows(window.values[None])
    book.add_window(rows, window.start_ms, window.end_ms, window.segment, offset, truths)
    truths.make()


class Join:
    """A book as the processor uses it: windows by offset, and what has been resolved."""

    def __init__(self, spec: ModelSpec = SPEC) -> None:
        self.spec = spec
        self.book = ForecastBook()
        self.windows_through = -1
        self.resolved: Resolved = []

    def window(self, window: SensorWindow, offset: int) -> None:
        """Take a window."""
        self.windows_through = offset
        add_window(self.book, window, offset, self.spec)
        self._take()

    def prediction(self, prediction: Prediction) -> None:
        """Take a prediction."""
        self.book.add_prediction(prediction, self.windows_through)
        self._take()

    def snapshot(self) -> bytes:
        """Encode the book."""
        return msgspec.msgpack.encode(self.book)

    def restore(self, snapshot: bytes) -> None:
        """Decode a book."""
        self.book = msgspec.msgpack.decode(snapshot, type=ForecastBook)

    def _take(self) -> None:
        settled, before = self.book.begins_settled, len(self.book.open)
        self.resolved += [
            (joined.answer.offset, rows_of(joined, self.spec))
            for joined in self.book.take_resolved()
        ]
        assert settled == (len(self.book.open) < before)


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


def test_a_clock_that_is_put_right_is_followed_at_once() -> None:
    """However long a clock was ahead, the windows after it get their outcomes."""
    join = Join()
    ahead = 100_000
    places = [ahead + 3 * i for i in range(10)] + [3 * i for i in range(10)]
    for offset, first in enumerate(places):
        window = pump_window(first)
        join.window(window, offset)
        join.prediction(prediction_of(window, offset))
    assert [offset for offset, _ in join.resolved] == [*range(9), *range(10, 19)]


def test_a_backlog_that_comes_late_is_joined() -> None:
    """An edge that sends what it could not send before, after what is current, loses nothing."""
    join = Join()
    places = [3 * i for i in range(100, 104)] + [3 * i for i in range(6)]
    for offset, first in enumerate(places):
        window = pump_window(first)
        join.window(window, offset)
        join.prediction(prediction_of(window, offset))
    assert [offset for offset, _ in join.resolved] == [0, 1, 2, *range(4, 9)]


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
    join = Join(spec)
    first = pump_window(0, spec=spec)
    join.window(first, 0)
    join.window(pump_window(8, spec=spec, values=values), 1)
    join.prediction(prediction_of(first, 0, spec=spec))
    assert join.resolved == [(0, [(3.0,)])]


@pytest.mark.parametrize(("lost", "truth"), [(3, 1.0), (4, None)])
@pytest.mark.parametrize("target", ["mean", "sequence"])
def test_absence_begins_beyond_the_rule(
    target: Literal["mean", "sequence"], lost: int, truth: float | None
) -> None:
    """A target that misses just as much as a window may has truth; one sample more, and none."""
    spec = pump_spec(window=10, horizon=10, stride=10, target=target, targets=("flow",))
    values = np.ones((10, 3), np.float32)
    values[:lost, 0] = np.nan
    join = Join(spec)
    first = pump_window(0, spec=spec)
    join.window(first, 0)
    join.window(pump_window(10, spec=spec, values=values), 1)
    join.prediction(prediction_of(first, 0, spec=spec))
    assert join.resolved[0][1][-1] == (truth,)


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
    assert join.book.early == []


def test_a_prediction_whose_window_never_comes_is_not_kept() -> None:
    """Once a later window is there it is dropped, and what was before it is not waited for."""
    join = Join()
    windows = [pump_window(3 * offset) for offset in range(5)]
    join.window(windows[0], 0)
    join.prediction(prediction_of(windows[1], 1))
    join.window(windows[2], 2)
    assert join.book.early == []
    join.prediction(prediction_of(windows[2], 2))
    join.window(windows[3], 3)
    assert [offset for offset, _ in join.resolved] == [2]


def test_early_predictions_in_any_order_and_again_are_those_in_order() -> None:
    """Out of order, and one of them twice: each window gets its own, the one that came last."""
    windows = [pump_window(3 * offset) for offset in range(4)]
    join = Join()
    for offset, version in [(2, 1), (0, 1), (1, 1), (2, 5)]:
        join.prediction(prediction_of(windows[offset], offset, version=version))
    assert [(early.offset, early.version) for early in join.book.early] == [(0, 1), (1, 1), (2, 5)]
    for offset, window in enumerate(windows):
        join.window(window, offset)
    assert [offset for offset, _ in join.resolved] == [0, 1, 2]


def test_what_the_wall_clock_said_can_be_left_out() -> None:
    """Two runs whose windows were sent at different times compare equal without their clocks."""
    books = []
    for timestamp_ms in (1, 2):
        join = Join()
        window = pump_window(0)
        join.window(window, 0)
        for offset in (0, 1):
            made = prediction_of(window, offset)
            source = msgspec.structs.replace(made.source, timestamp_ms=timestamp_ms)
            join.prediction(msgspec.structs.replace(made, source=source))
        books.append(join.book)
    assert books[0] != books[1]
    for book in books:
        book.forget_clock()
    assert books[0] == books[1]


# Any order


@dataclass(frozen=True)
class Story:
    """Windows in their order, which of them get a prediction, and their task."""

    windows: tuple[SensorWindow, ...]
    answered: tuple[bool, ...]
    spec: ModelSpec = SPEC

    @property
    def predictions(self) -> list[Prediction]:
        """The predictions, in their order."""
        return [
            prediction_of(window, offset, spec=self.spec)
            for offset, window in enumerate(self.windows)
            if self.answered[offset]
        ]


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


@st.composite
def wild_stories(draw: st.DrawFn) -> Story:
    """Any task; clocks that jump either way, readings that are missing or differ."""
    spec = pump_spec(
        window=draw(st.integers(1, 8)),
        horizon=draw(st.integers(1, 9)),
        stride=draw(st.integers(1, 8)),
        target=draw(st.sampled_from(["mean", "sequence"])),
        targets=draw(st.sampled_from([(), ("flow",), ("temperature", "flow")])),
    )
    moves = st.sampled_from([1, 1, 1, 1, 2, 5, -1, -3, 40, -40])
    jumps = draw(st.lists(st.tuples(moves, st.sampled_from("aaab")), min_size=1, max_size=25))
    noise = np.random.default_rng(draw(st.integers(0, 99)))
    missing = draw(st.sampled_from([0.0, 0.1, 0.4]))
    windows: dict[int, SensorWindow] = {}
    place = 0
    for jump, segment in jumps:
        place += jump * spec.stride
        values = noise.normal(size=(spec.window, 3)).astype(np.float32)
        values[noise.random(values.shape) < missing] = np.nan
        window = pump_window(place, spec=spec, values=values, segment=segment)
        windows.setdefault(window.start_ms, window)
    answered = draw(st.lists(st.booleans(), min_size=len(windows), max_size=len(windows)))
    return Story(tuple(windows.values()), tuple(answered), spec)


@dataclass
class Course:
    """A join on its way through a story: what it has taken, and how to come back there.

    Attributes:
        windows: Windows taken.
        predictions: Predictions taken.
    """

    story: Story
    join: Join
    windows: int = 0
    predictions: int = 0
    _kept: tuple[bytes, int, int] = field(default=(b"", 0, 0))

    def go(self, order: Sequence[bool]) -> None:
        """Merge windows (True) and predictions (False) in an order, each in its own order."""
        predictions = self.story.predictions
        for takes_window in order:
            if takes_window and self.windows < len(self.story.windows):
                self.join.window(self.story.windows[self.windows], self.windows)
                self.windows += 1
            elif not takes_window and self.predictions < len(predictions):
                self.join.prediction(predictions[self.predictions])
                self.predictions += 1

    def finish(self) -> None:
        """Take all the rest."""
        self.go([True] * len(self.story.windows) + [False] * len(self.story.windows))

    def keep(self) -> None:
        """Take a snapshot, with how far it has come."""
        self._kept = (self.join.snapshot(), self.windows, self.predictions)

    def crash(self) -> None:
        """Lose everything since the snapshot; records after it are delivered again."""
        memory, self.windows, self.predictions = self._kept
        self.join.restore(memory)
        self.join.windows_through = self.windows - 1


ORDERS = st.lists(st.booleans(), max_size=30)


@settings(max_examples=400)
@given(story=stories() | wild_stories(), before=ORDERS, lost=ORDERS, after=ORDERS)
def test_interleaving_and_restarts_change_nothing(
    story: Story, before: list[bool], lost: list[bool], after: list[bool]
) -> None:
    """However predictions and windows interleave, wherever the worker crashes, and however
    far it has to go back: outcomes, their order and the book are those of a calm run.
    """  # noqa: D205  (one sentence)
    calm = Course(story, Join(story.spec))
    calm.finish()
    course = Course(story, Join(story.spec))
    course.go(before)
    course.keep()
    confirmed = len(course.join.resolved)
    course.go(lost)
    repeated = course.join.resolved[confirmed:]
    course.crash()
    del course.join.resolved[confirmed:]
    course.go(after)
    course.finish()
    assert course.join.resolved == calm.join.resolved
    assert course.join.resolved[confirmed:][: len(repeated)] == repeated
    assert course.join.book == calm.join.book
    assert course.join.snapshot() == calm.join.snapshot()


class LongWay(ForecastBook):
    """A book that never takes the short way."""

    def _is_next(self, *_: object) -> bool:
        return False


@settings(max_examples=300)
@given(
    story=stories() | wild_stories(),
    most_open=st.integers(1, 5) | st.just(MOST_OPEN),
    crashes=st.sets(st.integers(0, 25)),
)
def test_the_short_way_leaves_the_same_book(
    story: Story, most_open: int, crashes: set[int]
) -> None:
    """After each window, in books that are full or not, new or restored."""
    task = JoinTask(story.spec)
    task.most_open = most_open
    short, long = ForecastBook(), LongWay()
    for offset, window in enumerate(story.windows):
        (rows,) = task.rows(window.values[None])
        left = []
        for book in (short, long):
            truths = Truths(task)
            book.add_window(rows, window.start_ms, window.end_ms, window.segment, offset, truths)
            truths.make()
            if story.answered[offset]:
                book.add_prediction(prediction_of(window, offset, spec=story.spec), offset)
            left.append((book.take_resolved(), msgspec.msgpack.encode(book)))
        assert left[0] == left[1]
        if offset in crashes:
            short = msgspec.msgpack.decode(left[0][1], type=ForecastBook)
            long = msgspec.msgpack.decode(left[1][1], type=LongWay)


@given(story=stories() | wild_stories())
def test_outcomes_leave_in_the_order_of_windows_and_once(story: Story) -> None:
    """Outcomes come in the order of their windows, each at most once, only for answered ones."""
    course = Course(story, Join(story.spec))
    course.finish()
    offsets = [offset for offset, _ in course.join.resolved]
    assert offsets == sorted(set(offsets))
    assert all(story.answered[offset] for offset in offsets)


class PlainJoin:
    """The rules of the join, told reading by reading."""

    def __init__(self, spec: ModelSpec) -> None:
        self.spec = spec
        self.known: dict[tuple[str, int], list[float]] = {}
        self.waiting: dict[int, tuple[str, int]] = {}
        self.behind: dict[int, int] = {}
        self.passed: dict[int, int] = {}
        self.truths: dict[int, list[Row]] = {}

    def window(self, window: SensorWindow, offset: int) -> None:
        """Take a window; `truths` has what is complete then."""
        spec = self.spec
        start = (window.start_ms - START_MS) // spec.period_ms
        end = start + spec.window
        patience = LATENESS * spec.window + spec.horizon
        for sample, row in enumerate(window.values[:, list(spec.target_columns)].tolist()):
            self.known.setdefault((window.segment, start + sample), row)
        self.waiting[offset] = (window.segment, end)
        self.behind[offset] = self.passed[offset] = 0
        for waits, (segment, first) in list(self.waiting.items()):
            moments = [(segment, first + step) for step in range(spec.horizon)]
            self.behind[waits] += end < first - patience
            self.passed[waits] += first < end - patience
            if all(moment in self.known for moment in moments):
                self.truths[waits] = self._truth([self.known[moment] for moment in moments])
                del self.waiting[waits]
            elif WITNESSES in (self.passed[waits], self.behind[waits]):
                del self.waiting[waits]
        needed: dict[str, int] = {}
        for segment, first in self.waiting.values():
            needed[segment] = min(first, needed.get(segment, first))
        self.known = {
            (segment, moment): row
            for (segment, moment), row in self.known.items()
            if segment in needed and moment >= needed[segment]
        }

    def _truth(self, rows: list[list[float]]) -> list[Row]:
        columns: list[list[float | None]] = []
        for column in zip(*rows, strict=True):
            shown = [x for x in column if not math.isnan(x)]
            if 1 - len(shown) / len(column) > ABSENT_ABOVE:
                columns.append([None] * self.spec.steps)
            elif self.spec.target == "mean":
                columns.append([math.fsum(shown) / len(shown)])
            else:
                columns.append([None if math.isnan(x) else x for x in column])
        return list(zip(*columns, strict=True))


@settings(max_examples=400)
@given(story=stories() | wild_stories())
def test_truth_is_what_a_plain_join_finds(story: Story) -> None:
    """Blocks of readings, merged and trimmed, say what single readings in a dict say."""
    plain = PlainJoin(story.spec)
    join = Join(story.spec)
    for offset, window in enumerate(story.windows):
        plain.window(window, offset)
        join.window(window, offset)
        join.prediction(prediction_of(window, offset, spec=story.spec))
        assert kept_bytes(join.book) == 4 * sum(map(len, plain.known.values()))
    waits = min(plain.waiting, default=len(story.windows))
    assert [offset for offset, _ in join.resolved] == [
        offset for offset in sorted(plain.truths) if offset < waits
    ]
    for offset, rows in join.resolved:
        found, expected = (np.array(told, np.float64) for told in (rows, plain.truths[offset]))
        np.testing.assert_allclose(found, expected, rtol=1e-12, atol=1e-12)


# Memory


def test_memory_is_bounded_without_predictions() -> None:
    """If inference stays away, the oldest forecasts are dropped, and a snapshot fits a record."""
    join = Join()
    values = pump_window(0).values
    for offset in range(MOST_OPEN + 500):
        join.window(pump_window(3 * offset, values=values), offset)
    assert len(join.book.open) == MOST_OPEN
    assert join.book.open[0].offset == 500
    assert len(join.snapshot()) < 80 * MOST_OPEN


def test_memory_is_bounded_for_long_forecasts() -> None:
    """The longer a forecast, the fewer wait: values are what is counted."""
    join = Join(pump_spec(window=512, horizon=1024, stride=512))
    values = pump_window(0, spec=join.spec).values
    for offset in range(200):
        join.window(pump_window(512 * offset, spec=join.spec, values=values), offset)
    assert len(join.book.open) == MOST_VALUES // (1024 * 2)
    assert len(join.snapshot()) < 24 * MOST_VALUES


@pytest.mark.parametrize(
    ("horizon", "most"), [(1, MOST_EARLY), (1024, MOST_VALUES // (1024 * 2 + 2))]
)
def test_memory_is_bounded_without_windows(horizon: int, most: int) -> None:
    """Predictions whose windows do not come are not collected for ever."""
    join = Join(pump_spec(horizon=horizon))
    window = pump_window(0)
    for offset in range(most + 10):
        join.prediction(prediction_of(window, offset, spec=join.spec))
    assert len(join.book.early) == most


def test_segments_that_change_with_every_window_leave_little() -> None:
    """Truth that cannot come any more keeps no readings; forecasts wait no longer for it."""
    join = Join()
    for offset in range(200):
        window = pump_window(3 * offset, segment=f"{offset:0200}")
        join.window(window, offset)
        join.prediction(prediction_of(window, offset))
    assert kept_bytes(join.book) == 0
    assert len(join.book.open) <= (LATENESS * SPEC.window + SPEC.horizon) // 3 + WITNESSES + 1
    assert {len(segment) for segment in join.book.readings} <= set(range(LONGEST_NAME))


def test_clocks_that_jump_leave_little() -> None:
    """Windows from anywhere, one after the other, are given up soon."""
    join = Join()
    values = pump_window(0).values
    for offset in range(300):
        window = pump_window((offset * 7919) % 5003 * 40, values=values)
        join.window(window, offset)
        join.prediction(prediction_of(window, offset))
        assert len(join.book.open) <= 2 * WITNESSES
    assert join.resolved == []


def test_readings_are_bounded_whatever_comes() -> None:
    """Segments that each wait for one more reading: the oldest are dropped, the newest not."""
    spec = pump_spec(window=64, horizon=64, stride=1, target="mean", targets=())
    join = Join(spec)
    values = pump_window(0, spec=spec).values
    most = 0
    for offset in range(0, 1600, 2):
        for more in (0, 1):
            first = pump_window(63 * more, spec=spec, values=values, segment=str(offset))
            window = msgspec.structs.replace(first, start_ms=first.start_ms + offset)
            join.window(window, offset + more)
        most = max(most, kept_bytes(join.book))
    assert 0.99 * MOST_VALUES < most / 4 <= MOST_VALUES
    last = pump_window(126, spec=spec, values=values, segment=str(offset))
    join.window(msgspec.structs.replace(last, start_ms=last.start_ms + offset), offset + 2)
    assert join.book.open[-3].truth is not None
    assert 0 < join.book.open[0].offset < offset


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
    assert len(join.book.open) == 1
    assert kept_bytes(join.book) == 0
    assert join.book.early == []
    assert len(join.snapshot()) < 150


def test_a_book_in_a_steady_run_has_a_kilobyte_or_two() -> None:
    """The cost of an asset whose forecasts are answered, as the interpreter counts it."""
    spec = pump_spec(window=64, horizon=16, stride=16, target="mean", targets=())
    windows = [pump_window(16 * offset, spec=spec) for offset in range(8)]
    predictions = [prediction_of(w, offset, spec=spec) for offset, w in enumerate(windows)]
    tracemalloc.start()
    try:
        before, _ = tracemalloc.get_traced_memory()
        books = []
        for _ in range(100):
            join = Join(spec)
            for offset, window in enumerate(windows):
                join.window(window, offset)
                join.prediction(predictions[offset])
            books.append(join.book)
        del join
        after, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert (after - before) / len(books) < 2500
