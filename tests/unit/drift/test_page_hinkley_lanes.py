"""Page-Hinkley over lanes is river's, to the last bit, however a stream is cut."""

import math
from itertools import pairwise

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from millrace.drift.detectors import page_hinkley_lanes
from millrace.drift.detectors.alarm import Alarm
from millrace.drift.detectors.page_hinkley import PageHinkley, PageHinkleySettings
from millrace.drift.detectors.series import Floats, pack_series
from millrace.drift.policy import ERROR, INPUT

#: Alarms early and often, on both sides.
NERVOUS = PageHinkleySettings(delta=0.0, threshold=1.0, min_values=3, two_sided=True)
SETTINGS = st.sampled_from([INPUT, ERROR, NERVOUS])
#: Ties, zeros of both signs and absurd values among ordinary ones.
VALUES = st.one_of(
    st.sampled_from([0.0, -0.0, 1.0, -1.0, math.nan, math.inf, -math.inf, 1e300, 5e-324]),
    st.floats(-5, 5),
)
Found = list[tuple[int, int, Alarm]]


def one_by_one(values: Floats, times: Floats, chosen: PageHinkleySettings) -> tuple[Floats, Found]:
    """State and alarms of river's test, a lane at a time."""
    found: Found = []
    states = []
    for lane in range(values.shape[1]):
        test = PageHinkley(chosen)
        for row, (value, time) in enumerate(zip(values[:, lane], times, strict=True)):
            alarm = test.update(float(value), int(time))
            if alarm is not None:
                found.append((row, lane, alarm))
        states.append([float(number) for number in msgspec.structs.astuple(test.state())])
    return np.array(states), sorted(found, key=lambda one: one[:2])


def in_pieces(
    values: Floats, times: Floats, chosen: PageHinkleySettings, cuts: list[int]
) -> tuple[Floats, Found]:
    """State and alarms of the lanes, a piece of the stream at a time."""
    states = page_hinkley_lanes.fresh(values.shape[1])
    found: Found = []
    edges = [0, *sorted(min(cut, len(values)) for cut in cuts), len(values)]
    for start, end in pairwise(edges):
        piece = slice(start, end)
        series = pack_series(values[piece], times[piece])
        alarms = series.by_round(page_hinkley_lanes.update(states, series, chosen))
        found += [(start + row, lane, alarm) for row, lane, alarm in alarms]
    return states, found


@given(
    values=arrays(
        np.float64, st.tuples(st.integers(1, 80), st.integers(1, 4)), elements=VALUES, fill=VALUES
    ),
    chosen=SETTINGS,
    cuts=st.lists(st.integers(0, 80), max_size=4),
)
def test_equals_river_bit_for_bit(
    values: Floats, chosen: PageHinkleySettings, cuts: list[int]
) -> None:
    """Any values, absent and absurd ones too: the same alarms, and the same bytes of state."""
    times = np.linspace(0.0, 1e12, len(values)).round()
    states, found = in_pieces(values, times, chosen, cuts)
    expected_states, expected = one_by_one(values, times, chosen)
    assert found == expected
    assert states.tobytes() == expected_states.tobytes()


@settings(deadline=None, max_examples=30)
@given(
    seed=st.integers(0, 1000),
    chosen=SETTINGS,
    cuts=st.lists(st.integers(0, 600), max_size=5),
)
def test_equals_river_on_long_streams_with_shifts(
    seed: int, chosen: PageHinkleySettings, cuts: list[int]
) -> None:
    """Over many blocks, with gaps and repeated shifts and so repeated fresh starts."""
    rng = np.random.default_rng(seed)
    levels = np.repeat(rng.normal(0, 2, (6, 4)), 100, axis=0)
    values = levels + rng.normal(0, 0.3, (600, 4))
    values[rng.random((600, 4)) < 0.1] = np.nan
    times = np.cumsum(rng.integers(1, 1000, 600)).astype(np.float64)
    states, found = in_pieces(values, times, chosen, cuts)
    expected_states, expected = one_by_one(values, times, chosen)
    assert expected
    assert found == expected
    assert states.tobytes() == expected_states.tobytes()


def test_lanes_do_not_touch_each_other() -> None:
    """A lane without values keeps its state while its neighbour alarms."""
    states = page_hinkley_lanes.fresh(2)
    values = np.full((60, 2), np.nan)
    values[:, 1] = [0.0] * 40 + [90.0] * 20
    series = pack_series(values, np.arange(60))
    found = series.by_round(page_hinkley_lanes.update(states, series, INPUT))
    assert {lane for _, lane, _ in found} == {1}
    assert states[0].tobytes() == page_hinkley_lanes.fresh(1)[0].tobytes()


@pytest.mark.parametrize("rounds", [0, 1])
def test_nothing_is_nothing(rounds: int) -> None:
    """No rounds, or a round of absent values, changes nothing."""
    states = page_hinkley_lanes.fresh(3)
    before = states.tobytes()
    values = np.full((rounds, 3), np.nan)
    assert page_hinkley_lanes.update(states, pack_series(values, np.arange(rounds)), INPUT) == []
    assert states.tobytes() == before
