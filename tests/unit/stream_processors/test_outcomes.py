"""The arithmetic of outcomes: errors in scales of the version that served."""

import pytest

from contracts.normaliser import Normaliser
from contracts.outcome import Outcome
from stream_processors.outcomes import outcome_of
from tests.builders import AT, UNITS, prediction_of, pump_spec, pump_window

SPEC = pump_spec(horizon=2)
#: Of the pump's targets, flow and temperature.
SCALES = (UNITS.scale[0], UNITS.scale[2])
WINDOW = pump_window(0, spec=SPEC)


def joined(
    forecast: list[list[float | None]],
    persistence: list[float | None],
    truth: list[tuple[float | None, ...]],
    units: Normaliser = UNITS,
) -> Outcome | None:
    """Join a forecast of two steps with a truth."""
    prediction = prediction_of(WINDOW, 5, spec=SPEC, forecast=forecast, persistence=persistence)
    return outcome_of(prediction, truth, units, SPEC, AT)


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
