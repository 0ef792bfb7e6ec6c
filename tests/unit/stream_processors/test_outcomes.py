"""The arithmetic of outcomes: errors in scales of the version that served."""

import math
from itertools import chain

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from millrace.contracts.events.outcome import Outcome
from millrace.contracts.normaliser import Normaliser
from millrace.contracts.wire.codec import encode
from millrace.stream_processors.outcomes.forecasts import ForecastBook
from millrace.stream_processors.outcomes.outcome import outcome_of
from millrace.stream_processors.outcomes.stored_prediction import Joined, StoredPrediction
from tests.builders import AT, UNITS, prediction_of, pump_spec, pump_window
from tests.unit.stream_processors.test_forecasts import add_window

SPEC = pump_spec(horizon=2)
#: Of the pump's targets, flow and temperature.
SCALES = (UNITS.scale[0], UNITS.scale[2])
WINDOW = pump_window(0, spec=SPEC)
Rows = list[list[float | None]]


def joined(
    forecast: Rows,
    persistence: list[float | None],
    truth: list[tuple[float | None, ...]],
    units: Normaliser = UNITS,
) -> Outcome | None:
    """Join a forecast of two steps with a truth."""
    prediction = prediction_of(WINDOW, 5, spec=SPEC, forecast=forecast, persistence=persistence)
    measured = np.array(truth, "<f4").tobytes()
    both = Joined(
        WINDOW.start_ms, WINDOW.end_ms, measured, StoredPrediction.of(prediction), WINDOW.segment
    )
    return outcome_of(both, WINDOW.asset, units, SPEC, AT)


def test_errors_are_in_scales_of_the_version() -> None:
    """Each target's error is divided by its scale, then averaged over steps and targets."""
    outcome = joined([[11.0, 2.0], [12.0, 2.0]], [10.0, 3.0], [(10.0, 1.0), (10.0, 2.0)])
    assert outcome is not None
    flow, temperature = SCALES
    error = (1 / flow + 2 / flow + 1 / temperature + 0) / 4
    naive = (0 + 0 + 2 / temperature + 1 / temperature) / 4
    assert outcome.error == pytest.approx(error)
    assert outcome.persistence_error == pytest.approx(naive)
    assert outcome.skill == pytest.approx((error - naive) / (error + naive))


def test_targets_without_truth_or_forecast_are_left_out() -> None:
    """A target that was absent, before or after, has no error."""
    outcome = joined([[11.0, None], [12.0, None]], [10.0, None], [(10.0, 1.0), (10.0, 2.0)])
    assert outcome is not None
    assert outcome.error == pytest.approx(1.5 / SCALES[0])
    assert outcome.persistence_error == 0.0
    outcome = joined([[11.0, 5.0], [12.0, 5.0]], [10.0, 5.0], [(10.0, None), (10.0, None)])
    assert outcome is not None
    assert outcome.error == pytest.approx(1.5 / SCALES[0])
    assert outcome.truth == [[10.0, None], [10.0, None]]


def test_nothing_in_common_is_no_outcome() -> None:
    """A forecast of one target and a truth of the other cannot be compared."""
    assert joined([[1.0, None], [1.0, None]], [1.0, None], [(None, 1.0), (None, 1.0)]) is None


def test_perfect_forecast_of_a_constant_has_no_skill_to_show() -> None:
    """When model and persistence are both right, skill is 0, not undefined."""
    outcome = joined([[1.0, 2.0], [1.0, 2.0]], [1.0, 2.0], [(1.0, 2.0), (1.0, 2.0)])
    assert outcome is not None
    assert (outcome.error, outcome.persistence_error, outcome.skill) == (0.0, 0.0, 0.0)


@pytest.mark.parametrize(("forecast", "skill"), [(10.0, -1.0), (13.0, 1.0)])
def test_skill_is_bounded(forecast: float, skill: float) -> None:
    """Perfect where persistence errs is -1, erring where persistence is perfect is 1."""
    last = 13.0 if skill < 0 else 10.0
    outcome = joined([[forecast, None]] * 2, [last, None], [(10.0, None)] * 2)
    assert outcome is not None
    assert outcome.skill == skill


def test_persistence_serving_has_skill_0() -> None:
    """Version 0 is as good as itself, in physical units."""
    units = Normaliser.identity(3)
    outcome = joined([[10.0, 3.0]] * 2, [10.0, 3.0], [(12.0, 3.0), (10.0, 1.0)], units)
    assert outcome is not None
    assert (outcome.error, outcome.persistence_error, outcome.skill) == (1.0, 1.0, 0.0)


def test_provenance_is_the_predictions() -> None:
    """An outcome names its window's record, and the same one gets the same id again."""
    first = joined([[1.0, 2.0]] * 2, [1.0, 2.0], [(1.0, 2.0)] * 2)
    again = joined([[3.0, 2.0]] * 2, [1.0, 2.0], [(1.0, 2.0)] * 2)
    assert first is not None
    assert again is not None
    assert first.id == again.id
    prediction = prediction_of(WINDOW, 5, spec=SPEC)
    assert first.source == prediction.source
    assert first.window_id == prediction.window_id
    assert (first.interval_start, first.interval_end) == (
        prediction.interval_start,
        prediction.interval_end,
    )
    assert first.targets == prediction.targets
    assert (first.asset, first.model) == (prediction.asset, prediction.model)
    assert (first.version, first.epoch) == (prediction.version, prediction.epoch)


def test_an_outcome_is_what_its_contract_says() -> None:
    """Null stands for what was not measured, in JSON that its reader takes."""
    outcome = joined([[11.0, 5.0]] * 2, [10.0, 5.0], [(10.0, None), (None, 2.0)])
    assert outcome is not None
    assert msgspec.json.decode(encode(outcome), type=Outcome) == outcome
    assert b'"truth":[[10.0,null],[null,2.0]]' in encode(outcome)


def test_a_mean_is_told_as_exactly_as_it_was_made() -> None:
    """The truth of a mean is not rounded to the sensors' precision."""
    spec = pump_spec(target="mean", window=3, horizon=3, stride=3, targets=("flow",))
    values = np.zeros((3, 3), np.float32)
    values[:, 0] = [1.0, 1.0, 2.0]
    book = ForecastBook()
    for offset in (0, 1):
        window = pump_window(3 * offset, spec=spec, values=values)
        add_window(book, window, offset, spec)
    book.add_prediction(prediction_of(pump_window(0, spec=spec), 0, spec=spec), 1)
    (both,) = book.take_resolved()
    outcome = outcome_of(both, "pump-1", UNITS, spec, AT)
    assert outcome is not None
    assert outcome.truth == [[4 / 3]]


@pytest.mark.parametrize(
    ("forecast", "persistence"),
    [
        ([[1.0, 2.0]], [1.0, 2.0]),
        ([[1.0, 2.0]] * 3, [1.0, 2.0]),
        ([[1.0, 2.0]] * 2, [1.0]),
        ([[1e300, 2.0]] * 2, [1.0, 2.0]),
        ([[1.0, 2.0]] * 2, [1e300, None]),
        ([[1.0, 2.0]] * 2, [None, 1e300]),
        ([], []),
    ],
)
def test_a_prediction_of_another_task_is_no_outcome(
    forecast: Rows, persistence: list[float | None]
) -> None:
    """Wrong shapes, and numbers that no sensor reads, are compared with nothing."""
    assert joined(forecast, persistence, [(1.0, 2.0), (1.0, 2.0)]) is None


VALUES = st.none() | st.floats(-1e6, 1e6, width=32)
ROWS = st.lists(st.tuples(VALUES, VALUES), min_size=2, max_size=2)


@given(forecast=ROWS, persistence=st.tuples(VALUES, VALUES), truth=ROWS)
def test_errors_are_those_of_a_sum_by_hand(
    forecast: list[tuple[float | None, ...]],
    persistence: tuple[float | None, ...],
    truth: list[tuple[float | None, ...]],
) -> None:
    """Arrays with NaN say what a loop over the numbers that are there says."""

    def mean_error(said: list[tuple[float | None, ...]]) -> float | None:
        columns = zip(chain(*said), chain(*truth), SCALES * 2, strict=True)
        found = [abs(a - b) / c for a, b, c in columns if a is not None and b is not None]
        return math.fsum(found) / len(found) if found else None

    error, naive = mean_error(forecast), mean_error([persistence] * 2)
    outcome = joined([list(row) for row in forecast], list(persistence), truth)
    if error is None or naive is None:
        assert outcome is None
        return
    assert outcome is not None
    assert outcome.error == pytest.approx(error, rel=1e-12)
    assert outcome.persistence_error == pytest.approx(naive, rel=1e-12)
    assert outcome.truth == [list(row) for row in truth]
    assert -1.0 <= outcome.skill <= 1.0
