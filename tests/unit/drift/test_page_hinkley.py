"""The Page-Hinkley test: when it alarms, what it remembers, and what cannot blind it."""

import math

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from millrace.drift.detectors.alarm import LIMIT, Alarm
from millrace.drift.detectors.page_hinkley import (
    PageHinkley,
    PageHinkleySettings,
    PageHinkleyState,
)

ONE_SIDED = PageHinkleySettings(delta=0.05, threshold=5.0)
TWO_SIDED = PageHinkleySettings(delta=0.25, threshold=30.0, two_sided=True)
SETTINGS = st.sampled_from([ONE_SIDED, TWO_SIDED])


def run(test: PageHinkley, values: list[float], since: int = 0) -> list[tuple[int, Alarm]]:
    """Alarms of a stream, with the index of the value that raised each."""
    found = [(i, test.update(x, i)) for i, x in enumerate(values, since)]
    return [(i, alarm) for i, alarm in found if alarm is not None]


def stream_with_shift(size: float) -> list[float]:
    """Seeded noise about 0, and about ``size`` from index 500 on."""
    noise = np.random.default_rng(7).normal(0.0, 0.3, 1000)
    return [float(x) for x in noise + size * (np.arange(1000) >= 500)]


def test_pins_the_alarm_of_a_rise() -> None:
    """A rise of one unit alarms at one index, with evidence from where it began."""
    alarms = run(PageHinkley(ONE_SIDED), stream_with_shift(1.0))
    assert [index for index, _ in alarms] == [505]
    first = alarms[0][1]
    assert first.rising
    assert first.statistic is not None
    assert first.statistic > ONE_SIDED.threshold == first.threshold
    assert 480 <= first.evidence_from <= 500
    assert first.samples == 506


def test_pins_the_alarms_of_a_fall() -> None:
    """A fall alarms in a two-sided test, and never in a one-sided one."""
    falling = stream_with_shift(-3.0)
    alarms = run(PageHinkley(TWO_SIDED), falling)
    assert [index for index, _ in alarms] == [510]
    assert not alarms[0][1].rising
    assert alarms[0][1].evidence_from in range(480, 501)
    assert run(PageHinkley(ONE_SIDED), falling) == []


def test_quiet_stream_raises_nothing() -> None:
    """Noise within the tolerance is no alarm."""
    assert run(PageHinkley(TWO_SIDED), stream_with_shift(0.0)) == []


def test_starts_afresh_after_an_alarm() -> None:
    """A second rise is found like the first, and the samples count from the alarm."""
    values = [0.0] * 40 + [1.0] * 60 + [3.0] * 30
    (first, _), (second, alarm) = run(PageHinkley(ONE_SIDED), values)
    assert (first, second) == (45, 102)
    assert alarm.samples == second - first


def test_waits_for_enough_values() -> None:
    """Nothing is raised before `min_values`, however clear the case."""
    settings = PageHinkleySettings(delta=0.0, threshold=1.0, min_values=20)
    assert run(PageHinkley(settings), [0.0, 50.0] * 9) == []


@given(
    settings=SETTINGS,
    values=st.lists(st.floats(-5, 5, allow_nan=False), max_size=120),
    cut=st.integers(0, 120),
)
def test_restored_test_runs_like_the_uninterrupted_one(
    settings: PageHinkleySettings, values: list[float], cut: int
) -> None:
    """Snapshot, encode, decode and restore at any moment: the same alarms, the same state."""
    whole = PageHinkley(settings)
    expected = run(whole, values)
    before = PageHinkley(settings)
    found = run(before, values[:cut])
    kept = msgspec.msgpack.decode(msgspec.msgpack.encode(before.state()), type=PageHinkleyState)
    after = PageHinkley(settings, kept)
    found += run(after, values[cut:], since=min(cut, len(values)))
    assert found == expected
    assert after.state() == whole.state()


@pytest.mark.parametrize("absurd", [math.nan, math.inf, -math.inf, 1e300, -1e300])
@pytest.mark.parametrize("settings", [ONE_SIDED, TWO_SIDED])
@pytest.mark.parametrize("place", [0, 10, 300])
def test_absurd_values_do_not_blind_it(
    absurd: float, settings: PageHinkleySettings, place: int
) -> None:
    """After any absurd value, a shift of five deviations is still found within 200 values."""
    values = stream_with_shift(5.0)
    values.insert(place, absurd)
    found = [index for index, alarm in run(PageHinkley(settings), values) if alarm.rising]
    assert any(500 < index <= 700 for index in found)


@given(st.lists(st.floats(allow_nan=True, allow_infinity=True), max_size=100))
def test_its_numbers_stay_finite(values: list[float]) -> None:
    """Whatever comes, mean and sums are numbers within the limit, and alarms are finite."""
    test = PageHinkley(TWO_SIDED)
    for _, alarm in run(test, values):
        assert alarm.statistic is not None
        assert math.isfinite(alarm.statistic)
    state = test.state()
    assert abs(state.mean) <= LIMIT
    assert math.isfinite(state.rise)
    assert math.isfinite(state.fall)


def test_value_that_is_no_number_changes_nothing() -> None:
    """NaN and infinities are passed over: the state stays as it was."""
    test = PageHinkley(ONE_SIDED)
    run(test, [0.1, 0.2, 0.3])
    before = test.state()
    run(test, [math.nan, math.inf, -math.inf])
    assert test.state() == before
