"""What a version says: in physical units, about windows that fit its model."""

import math
from typing import Any

import msgspec
import numpy as np
import pytest

from millrace.contracts.normaliser import Normaliser
from millrace.inference.batch.predictions import LAST_MS, misfits, predict
from millrace.inference.serving.servables import Persistence, Servable
from millrace.model_families.examples import Bools, Float32
from tests.builders import (
    OTHER_UNITS,
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


def test_forecasts_are_in_physical_units() -> None:
    """Whatever units a version has, people read forecasts and persistence in their own."""
    windows = [stamped_window(w, i, version=2, units=UNITS) for i, w in enumerate(WINDOWS)]
    said = predict(servable(), windows, None)
    assert said.finite.all()
    for index in range(len(WINDOWS)):
        np.testing.assert_allclose(said.forecast[index], expected(index), rtol=1e-4)
        np.testing.assert_allclose(said.last[index], WINDOWS[index].values[-1, [0, 2]], rtol=1e-5)


def test_fallback_takes_the_windows_into_its_own_units() -> None:
    """A window in version 3's units, answered by version 2, gives what version 2 would have."""
    as_2 = [stamped_window(w, i, version=2, units=UNITS) for i, w in enumerate(WINDOWS)]
    as_3 = [stamped_window(w, i, version=3, units=OTHER_UNITS) for i, w in enumerate(WINDOWS)]
    own = predict(servable(), as_2, None)
    instead = predict(servable(), as_3, OTHER_UNITS)
    np.testing.assert_allclose(instead.forecast, own.forecast, rtol=1e-4)
    np.testing.assert_allclose(instead.last, own.last, rtol=1e-4)


def test_fallback_to_persistence_repeats_the_last_reading() -> None:
    """Version 0 answers windows of any units with their last physical reading."""
    physical = Normaliser.identity(3)
    zero = Servable(SPEC, 0, physical, "digest-0", Persistence(SPEC))
    windows = [stamped_window(WINDOWS[0], 0, version=3, units=OTHER_UNITS)]
    said = predict(zero, windows, OTHER_UNITS)
    last = WINDOWS[0].values[-1, [0, 2]]
    np.testing.assert_allclose(said.forecast[0], [last] * 3, rtol=1e-5)


def test_persistence_repeats_the_last_reading() -> None:
    """Version 0 forecasts each target's last reading, once per step."""
    values = np.stack([w.values for w in WINDOWS])
    forecast = Persistence(SPEC)(values, np.ones((4, 3), np.bool_))
    assert forecast.shape == (4, 3, 2)
    for step in range(3):
        np.testing.assert_array_equal(forecast[:, step], values[:, -1, [0, 2]])


@pytest.mark.parametrize("units", [None, OTHER_UNITS])
def test_absent_sensors_stay_masked(units: Normaliser | None) -> None:
    """An absent sensor is nothing in any units, and its neighbours are forecast as ever."""
    present = (True, False, False)
    stamped = stamped_window(WINDOWS[0], 0, units=units or UNITS, present=present)
    said = predict(servable(), [stamped], units)
    assert said.present.tolist() == [[True, False]]
    np.testing.assert_allclose(said.forecast[0, :, 0], [row[0] for row in expected(0)], rtol=1e-4)


@pytest.mark.parametrize("nonsense", [math.nan, math.inf, -math.inf])
def test_a_forecast_that_is_no_number_is_told(nonsense: float) -> None:
    """Only the window whose forecast is not finite has none; its neighbours have theirs."""

    def broken(values: Float32, present: Bools) -> Float32:
        forecast = trend(values, present)
        forecast[1, 0, 1] = nonsense
        return forecast

    version = Servable(SPEC, 2, UNITS, "d", broken)
    windows = [stamped_window(w, i, units=UNITS) for i, w in enumerate(WINDOWS)]
    assert predict(version, windows, None).finite.tolist() == [True, False, True, True]


def test_nonsense_about_an_absent_target_is_no_matter() -> None:
    """What a version says about a sensor that is not there is not read."""

    def broken(values: Float32, present: Bools) -> Float32:
        forecast = trend(values, present)
        forecast[:, :, 1] = math.nan
        return forecast

    stamped = stamped_window(WINDOWS[0], 0, units=UNITS, present=(True, True, False))
    said = predict(Servable(SPEC, 2, UNITS, "d", broken), [stamped], None)
    assert said.finite.tolist() == [True]


@pytest.mark.parametrize(
    ("spoiled", "reason"),
    [
        ({"values": b""}, "wrong_shape"),
        ({"values": b"\0" * (4 * 6 * 3 - 1)}, "wrong_shape"),
        ({"values": b"\0" * (4 * 6 * 3 + 4 * 3)}, "wrong_shape"),
        ({"present": b""}, "wrong_shape"),
        ({"present": b"\1" * 4}, "wrong_shape"),
        ({"end_ms": -1}, "wrong_time"),
        ({"end_ms": LAST_MS}, "wrong_time"),
        ({"end_ms": 1 << 62}, "wrong_time"),
    ],
)
def test_a_window_that_its_model_cannot_read_is_found(spoiled: dict[str, Any], reason: str) -> None:
    """Wrong lengths and impossible times are findings, each about its own window only."""
    good = [stamped_window(w, i, units=UNITS) for i, w in enumerate(WINDOWS)]
    windows = [good[0], msgspec.structs.replace(good[1], **spoiled), good[2]]
    problems = misfits(SPEC, windows)
    assert {place: problem.reason for place, problem in problems.items()} == {1: reason}


def test_presence_is_any_byte_but_zero() -> None:
    """A byte that is neither 0 nor 1 makes no third kind of presence."""
    stamped = stamped_window(WINDOWS[0], 0, units=UNITS, present=(True, False, True))
    window = msgspec.structs.replace(stamped, present=b"\2\0\xff")
    assert predict(servable(), [window], None).present.tolist() == [[True, True]]
