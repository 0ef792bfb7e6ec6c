"""What a version says: in physical units, with its provenance."""

import math
from datetime import timedelta

import msgspec
import numpy as np
import pytest

from contracts.events import event_time
from contracts.normaliser import Normaliser
from contracts.prediction import Prediction
from inference.predictions import predict
from inference.servables import Bools, Float32, Persistence, Servable
from tests.builders import (
    AT,
    OTHER_UNITS,
    START_MS,
    UNITS,
    pump_spec,
    pump_window,
    stamped_window,
)

SPEC = pump_spec()
WINDOWS = [pump_window(3 * i) for i in range(4)]


def trend(values: Float32, present: Bools) -> Float32:
    """A forecaster in normalised units: the last reading and the change over the window."""
    assert values.dtype == np.float32
    assert not values[~np.broadcast_to(present[:, None, :], values.shape)].any()
    columns = list(SPEC.target_columns)
    change = values[:, -1, columns] - values[:, 0, columns]
    last = values[:, -1, columns]
    return np.stack([last + step * change for step in (0.5, 1.0, 1.5)], axis=1)


def servable(units: Normaliser = UNITS, version: int = 2) -> Servable:
    """A version that follows the trend."""
    return Servable(SPEC, version, units, f"digest-{version}", trend)


def expected(index: int) -> list[list[float]]:
    """The trend in physical units, which no units can change."""
    values = WINDOWS[index].values[:, [0, 2]].astype(float)
    return [(values[-1] + s * (values[-1] - values[0])).tolist() for s in (0.5, 1.0, 1.5)]


def answered(predictions: list[Prediction | None]) -> list[Prediction]:
    """Predictions, all of which must be there."""
    assert None not in predictions
    return [prediction for prediction in predictions if prediction is not None]


def test_forecasts_are_in_physical_units() -> None:
    """Whatever units a version has, people read forecasts and persistence in their own."""
    windows = [stamped_window(w, i, version=2, units=UNITS) for i, w in enumerate(WINDOWS)]
    made = answered(list(predict(servable(), windows, None, AT)))
    for index, prediction in enumerate(made):
        np.testing.assert_allclose(np.array(prediction.forecast, float), expected(index), rtol=1e-4)
        np.testing.assert_allclose(
            np.array(prediction.persistence, float), WINDOWS[index].values[-1, [0, 2]], rtol=1e-5
        )


def test_fallback_takes_the_windows_into_its_own_units() -> None:
    """A window in version 3's units, answered by version 2, gives what version 2 would have."""
    as_2 = [stamped_window(w, i, version=2, units=UNITS) for i, w in enumerate(WINDOWS)]
    as_3 = [stamped_window(w, i, version=3, units=OTHER_UNITS) for i, w in enumerate(WINDOWS)]
    own = answered(list(predict(servable(), as_2, None, AT)))
    instead = answered(list(predict(servable(), as_3, OTHER_UNITS, AT)))
    for mine, other in zip(own, instead, strict=True):
        np.testing.assert_allclose(
            np.array(other.forecast, float), np.array(mine.forecast, float), rtol=1e-4
        )
        assert (other.version, other.stamped_version) == (2, 3)
        assert (mine.version, mine.stamped_version) == (2, 2)
        assert other.normaliser_digest == UNITS.digest


def test_fallback_to_persistence_repeats_the_last_reading() -> None:
    """Version 0 answers windows of any units with their last physical reading."""
    physical = Normaliser.identity(3)
    zero = Servable(SPEC, 0, physical, "digest-0", Persistence(SPEC))
    windows = [stamped_window(WINDOWS[0], 0, version=3, units=OTHER_UNITS)]
    (made,) = answered(list(predict(zero, windows, OTHER_UNITS, AT)))
    last = WINDOWS[0].values[-1, [0, 2]]
    np.testing.assert_allclose(np.array(made.forecast, float), [last] * 3, rtol=1e-5)


def test_persistence_repeats_the_last_reading() -> None:
    """Version 0 forecasts each target's last reading, once per step."""
    values = np.stack([w.values for w in WINDOWS])
    forecast = Persistence(SPEC)(values, np.ones((4, 3), np.bool_))
    assert forecast.shape == (4, 3, 2)
    for step in range(3):
        np.testing.assert_array_equal(forecast[:, step], values[:, -1, [0, 2]])


@pytest.mark.parametrize("units", [None, OTHER_UNITS])
def test_absent_targets_are_null(units: Normaliser | None) -> None:
    """An absent sensor stays masked in any units, and is forecast as null; others are not."""
    present = (True, False, False)
    stamped = stamped_window(WINDOWS[0], 0, units=units or UNITS, present=present)
    (made,) = answered(list(predict(servable(), [stamped], units, AT)))
    assert made.present == (True, False)
    assert [row[1] for row in made.forecast] == [None, None, None]
    assert made.persistence[1] is None
    np.testing.assert_allclose(
        [row[0] for row in made.forecast if row[0] is not None],
        [row[0] for row in expected(0)],
        rtol=1e-4,
    )


@pytest.mark.parametrize("nonsense", [math.nan, math.inf, -math.inf])
def test_a_forecast_that_is_no_number_is_none(nonsense: float) -> None:
    """Only the window whose forecast is not finite has none; its neighbours have theirs."""

    def broken(values: Float32, present: Bools) -> Float32:
        forecast = trend(values, present)
        forecast[1, 2, 0] = nonsense
        return forecast

    version = Servable(SPEC, 2, UNITS, "d", broken)
    windows = [stamped_window(w, i, units=UNITS) for i, w in enumerate(WINDOWS)]
    assert [p is None for p in predict(version, windows, None, AT)] == [False, True, False, False]


def test_nonsense_about_an_absent_target_is_no_matter() -> None:
    """What a version says about a sensor that is not there is not read."""

    def broken(values: Float32, present: Bools) -> Float32:
        forecast = trend(values, present)
        forecast[:, :, 1] = math.nan
        return forecast

    stamped = stamped_window(WINDOWS[0], 0, units=UNITS, present=(True, True, False))
    (made,) = predict(Servable(SPEC, 2, UNITS, "d", broken), [stamped], None, AT)
    assert made is not None
    assert made.forecast[0][1] is None


def test_provenance_is_complete() -> None:
    """A prediction says which version made it of which record, for when, and how late."""
    stamped = stamped_window(WINDOWS[1], 7, version=2, epoch=5, units=UNITS)
    at = event_time(START_MS) + timedelta(milliseconds=250)
    (made,) = answered(list(predict(servable(), [stamped], None, at)))
    assert (made.model, made.version, made.stamped_version, made.epoch) == ("pump", 2, 2, 5)
    assert (made.artefact_digest, made.normaliser_digest) == ("digest-2", UNITS.digest)
    assert (made.window_id, made.source) == (WINDOWS[1].id, stamped.source)
    assert made.interval_start == event_time(WINDOWS[1].end_ms)
    assert made.interval_end - made.interval_start == timedelta(minutes=3)
    assert made.targets == ("flow", "temperature")
    assert made.latency_ms == pytest.approx(250)
    assert msgspec.json.decode(msgspec.json.encode(made), type=Prediction) == made


def test_the_same_record_gets_the_same_id() -> None:
    """Predicting a window twice, even by another version, gives one id; another window another."""
    stamped = [stamped_window(w, i, units=UNITS) for i, w in enumerate(WINDOWS[:2])]
    first = answered(list(predict(servable(), stamped, None, AT)))
    again = answered(list(predict(servable(version=1), stamped, None, AT)))
    assert [p.id for p in first] == [p.id for p in again]
    assert first[0].id != first[1].id
