"""How archived windows and outcomes become arrays."""

import random
from datetime import UTC, datetime

import msgspec
import numpy as np
import pytest

from millrace.contracts.clock import event_time
from millrace.contracts.errors import DataError
from millrace.contracts.events.outcome import Outcome
from millrace.contracts.events.window import SensorWindow
from millrace.contracts.model_spec import ModelSpec
from millrace.contracts.source import Source
from millrace.trainer.data.dataset import Dataset, Place, build_dataset, truths_of

SPEC = ModelSpec("pumps", ("flow", "heat", "vibration"), 60.0, 4, 2, 2, targets=("heat", "flow"))
NOW = datetime(2026, 1, 1, tzinfo=UTC)


def window(number: int, asset: str = "a") -> SensorWindow:
    """A window whose readings name it: 100 * number + sensor."""
    values = np.tile(100.0 * number + np.arange(3), (4, 1)).astype(np.float32)
    return SensorWindow(asset, SPEC.sensors, number * 120_000, 60.0, values)


def outcome(made: SensorWindow, place: Place, truth: list[float | None]) -> Outcome:
    """The truth of a window whose record is at a place."""
    return Outcome(
        id=f"o-{place[0]}-{place[1]}",
        asset=made.asset,
        model="pumps",
        version=0,
        epoch=1,
        window_id=made.id,
        source=Source("sensor.windows", place[0], place[1], 0),
        interval_start=event_time(made.end_ms),
        interval_end=event_time(made.end_ms + 120_000),
        targets=SPEC.target_names,
        truth=[truth],
        error=0.0,
        persistence_error=0.0,
        skill=0.0,
        joined_at=NOW,
    )


def build(
    windows: list[tuple[Place, SensorWindow]], outcomes: list[Outcome], most: int = 100
) -> Dataset:
    """Join with the spec of these tests."""
    return build_dataset(windows, truths_of(outcomes, SPEC), SPEC, max_windows=most)


def test_windows_meet_their_truth_by_place() -> None:
    """Order of reading is no matter; windows without truth, and truth without, are left out."""
    windows = [((n % 2, n), window(n)) for n in range(6)]
    outcomes = [outcome(w, place, [w.start_ms / 1e3, 7.0]) for place, w in windows[1:]]
    outcomes.append(outcome(window(9), (0, 99), [0.0, 0.0]))
    straight = build(windows, outcomes)
    random.Random(1).shuffle(windows)
    random.Random(2).shuffle(outcomes)
    mixed = build(windows, outcomes)
    assert straight.offset.tolist() == mixed.offset.tolist() == [1, 2, 3, 4, 5]
    assert np.array_equal(straight.x, mixed.x)
    assert straight.x[:, 0, 0].tolist() == [100.0, 200.0, 300.0, 400.0, 500.0]
    assert straight.y[:, 0, 0].tolist() == [120.0, 240.0, 360.0, 480.0, 600.0]
    assert straight.x.dtype == np.float32
    assert straight.y.shape == (5, 1, 2)
    assert straight.until_ms.tolist() == [(n * 120 + 360) * 1000 for n in range(1, 6)]


def test_an_outcome_that_was_written_twice_counts_once() -> None:
    """Outcomes are written at least once, so readers take each once."""
    made = window(1)
    twice = [outcome(made, (0, 1), [1.0, 2.0])] * 2
    assert len(build([((0, 1), made)] * 2, twice)) == 1


def test_a_window_that_was_sent_twice_counts_once() -> None:
    """The first of its places stands, whichever truth is read first."""
    made = window(1)
    outcomes = [outcome(made, (0, 5), [1.0, 2.0]), outcome(made, (0, 3), [1.0, 2.0])]
    windows = [((0, 5), made), ((0, 3), made)]
    assert build(windows, outcomes).offset.tolist() == [3]
    assert build(windows[::-1], outcomes[::-1]).offset.tolist() == [3]


def test_targets_are_known_only_where_window_and_truth_have_them() -> None:
    """A sensor that is absent from the window, or null in the truth, is not learned from."""
    absent = window(1)
    absent = SensorWindow(
        "a",
        SPEC.sensors,
        absent.start_ms,
        60.0,
        np.where([True, False, False], np.nan, absent.values).astype(np.float32),
    )
    null, nothing = window(2), window(3)
    found = build(
        [((0, 1), absent), ((0, 2), null), ((0, 3), nothing)],
        [
            outcome(absent, (0, 1), [1.0, 2.0]),
            outcome(null, (0, 2), [None, 2.0]),
            outcome(nothing, (0, 3), [None, None]),
        ],
    )
    assert found.known.tolist() == [[True, False], [False, True]]
    assert found.present.tolist() == [[False, True, True], [True, True, True]]
    assert found.y.tolist() == [[[1.0, 0.0]], [[0.0, 2.0]]]
    assert not np.isnan(found.x).any()


def test_the_most_recent_windows_stay() -> None:
    """A limit leaves out the oldest."""
    windows = [((0, n), window(n)) for n in range(6)]
    outcomes = [outcome(w, place, [1.0, 2.0]) for place, w in windows]
    assert build(windows, outcomes, most=2).offset.tolist() == [4, 5]


def test_other_models_and_sensor_sets_are_left_out() -> None:
    """What belongs to another model is neither truth nor window."""
    made, other = window(1), window(2)
    foreign = SensorWindow("a", SPEC.sensors, other.start_ms, 30.0, other.values)
    outcomes = [
        outcome(made, (0, 1), [1.0, 2.0]),
        msgspec.structs.replace(outcome(made, (0, 7), [9.0]), model="fans"),
        outcome(foreign, (0, 2), [1.0, 2.0]),
    ]
    assert build([((0, 1), made), ((0, 2), foreign)], outcomes).offset.tolist() == [1]


def test_nothing_to_learn_from_is_an_error_that_says_so() -> None:
    """The message says what is missing."""
    with pytest.raises(DataError, match="no archived window has its truth yet"):
        build([((0, 1), window(1))], [])


def test_truth_of_another_shape_is_refused() -> None:
    """A model whose description changed under its name is noticed."""
    with pytest.raises(DataError, match="1 x 2"):
        truths_of([outcome(window(1), (0, 1), [1.0, 2.0, 3.0])], SPEC)
