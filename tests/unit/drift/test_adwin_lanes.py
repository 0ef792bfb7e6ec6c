"""ADWIN over lanes is river's until its window is full, and bounded from then on."""

import math
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from river.drift import ADWIN

from millrace.drift.detectors import adwin_lanes
from millrace.drift.detectors.adwin_borders import AdwinSettings
from millrace.drift.detectors.adwin_buckets import BUCKETS, LEVELS
from millrace.drift.detectors.alarm import LIMIT, Alarm
from millrace.drift.detectors.series import Floats, pack_series

Found = list[tuple[int, int, Alarm]]


def in_pieces(
    values: Floats, cuts: list[int], chosen: AdwinSettings = adwin_lanes.DEFAULT
) -> tuple[Floats, Found]:
    """State and alarms of the lanes, a piece of the stream at a time; time is the row."""
    states = adwin_lanes.fresh(values.shape[1])
    found: Found = []
    edges = [0, *sorted(min(cut, len(values)) for cut in cuts), len(values)]
    for start, end in pairwise(edges):
        series = pack_series(values[start:end], np.arange(start, end))
        alarms = series.by_round(adwin_lanes.update(states, series, chosen))
        found += [(start + row, lane, alarm) for row, lane, alarm in alarms]
    return states, found


def streams(seed: int, rows: int = 1200) -> Floats:
    """Seeded lanes: noise with jumps, a slow climb, bits, steps, nothing; each with gaps."""
    rng = np.random.default_rng(seed)
    steps = np.arange(rows)
    values = np.stack(
        [
            rng.normal(0, 1, rows) + 2.0 * (steps // rng.integers(100, 500) % 2),
            rng.normal(0, 0.5, rows) + steps / rng.integers(100, 1000),
            rng.integers(0, 2, rows).astype(np.float64),
            (steps // 200 % 3).astype(np.float64),
            np.zeros(rows),
            rng.normal(0, 1e6, rows),
        ],
        axis=1,
    )
    values[rng.random(values.shape) < rng.random(6) * 0.3] = np.nan
    return values


@settings(deadline=None, max_examples=40)
@given(
    seed=st.integers(0, 1000),
    cuts=st.lists(st.integers(0, 1200), max_size=6),
    chosen=st.sampled_from([AdwinSettings(), AdwinSettings(delta=0.2, clock=8, grace=20)]),
)
def test_equals_river(seed: int, cuts: list[int], chosen: AdwinSettings) -> None:
    """Alarms at the same values, and the same width, mean and variance, however it is cut."""
    values = streams(seed)
    states, found = in_pieces(values, cuts, chosen)
    expected = []
    river: Any = ADWIN
    for lane in range(values.shape[1]):
        test = river(
            delta=chosen.delta,
            clock=chosen.clock,
            min_window_length=chosen.shortest,
            grace_period=chosen.grace,
        )
        for row, value in enumerate(values[:, lane]):
            if math.isfinite(value):
                test.update(max(-LIMIT, min(LIMIT, float(value))))
                if test.drift_detected:
                    expected.append((row, lane))
        if not test.drift_detected:  # after an alarm river starts afresh a value later
            assert adwin_lanes.widths(states)[lane] == test.width
            assert states[lane, adwin_lanes.TOTAL] == test.total
            assert adwin_lanes.means(states)[lane] == test.estimation
            assert states[lane, adwin_lanes.VARIANCE] / max(test.width, 1) == test.variance / max(
                test.width, 1
            )
    assert expected
    assert [(row, lane) for row, lane, _ in found] == sorted(expected)


@given(seed=st.integers(0, 50), cuts=st.lists(st.integers(0, 1200), max_size=6))
@settings(deadline=None, max_examples=40)
def test_cuts_change_no_bit(seed: int, cuts: list[int]) -> None:
    """Alarms with all their evidence, and all bytes of the state, are those of one call."""
    values = streams(seed)
    states, found = in_pieces(values, cuts)
    whole_states, whole = in_pieces(values, [])
    assert found == whole
    assert states.tobytes() == whole_states.tobytes()


@pytest.mark.parametrize(("size", "rising"), [(3.0, True), (-3.0, False)])
def test_pins_the_evidence_of_a_shift(size: float, rising: bool) -> None:  # noqa: FBT001
    """The alarm names direction, size and beginning of a shift, and what it had seen."""
    values = np.random.default_rng(5).normal(0, 0.5, 500) + size * (np.arange(500) >= 300)
    _, found = in_pieces(values[:, None], [])
    (row, _, alarm), *_ = found
    assert (row, alarm.rising, alarm.samples) == (319, rising, 320)
    assert alarm.statistic == pytest.approx(abs(size), abs=0.3)
    assert alarm.statistic is not None
    assert alarm.threshold is not None
    assert alarm.statistic > alarm.threshold
    assert 296 <= alarm.evidence_from <= 304


@pytest.mark.parametrize("absurd", [math.nan, math.inf, -math.inf, 1e300, -1e300])
@pytest.mark.parametrize("place", [0, 10, 300])
def test_absurd_values_do_not_blind_it(absurd: float, place: int) -> None:
    """After any absurd value, a shift of five deviations is still found within 200 values."""
    values = np.random.default_rng(7).normal(0, 1, 1000) + 5.0 * (np.arange(1000) >= 500)
    _, found = in_pieces(np.insert(values, place, absurd)[:, None], [])
    assert any(500 < row <= 700 and alarm.rising for row, _, alarm in found)


class Bounded:
    """ADWIN a value at a time, as its documentation says it is: buckets in lists."""

    def __init__(self) -> None:
        self.levels: list[list[tuple[float, int]]] = [[] for _ in range(LEVELS)]
        self.width, self.total, self.variance, self.n = 0, 0.0, 0.0, 0

    def update(self, value: float, time: int) -> bool:
        """Take a value; whether a border tells a change."""
        self.n += 1
        self.width += 1
        if self.width > 1:
            gap = value - self.total / (self.width - 1)
            self.variance += (self.width - 1) * gap * gap / self.width
        self.total += value
        self.levels[0].append((value, time))
        for level, buckets in enumerate(self.levels):
            if len(buckets) <= BUCKETS:
                break
            if level < LEVELS - 1:
                (first, since), (second, _) = buckets.pop(0), buckets.pop(0)
                self.levels[level + 1].append((first + second, since))
            else:
                self._drop()
        return self.n % 32 == 0 and self.width > 10 and self._is_changed()

    def _drop(self) -> None:
        total, _ = self.levels[-1].pop(0)
        before = self.width
        self.width -= 2 ** (LEVELS - 1)
        self.total -= total
        self.variance *= self.width / before

    def _is_changed(self) -> bool:
        older, older_total, newer, newer_total = 0, 0.0, self.width, self.total
        chance = math.log(2 * math.log(self.width) / 0.002)
        for level in reversed(range(LEVELS)):
            for total, _ in self.levels[level]:
                older, newer = older + 2**level, newer - 2**level
                older_total, newer_total = older_total + total, newer_total - total
                if older < 5 or newer < 5:
                    continue
                lengths = 1 / (older - 4) + 1 / (newer - 4)
                bound = math.sqrt(2 * lengths * self.variance / self.width * chance)
                bound += 2 / 3 * chance * lengths
                if abs(older_total / older - newer_total / newer) > bound:
                    return True
        return False


def test_full_window_drops_its_oldest_bucket() -> None:
    """Width, total, variance and buckets follow the documented rule; a shift is still found."""
    rng = np.random.default_rng(11)
    values = rng.normal(0, 1, (29_000, 2))
    values[28_000:, 1] += 3.0
    states, found = in_pieces(values, [7, 20_476, 20_477, 24_000])
    plain = Bounded()
    alarms = [row for row in range(len(values)) if plain.update(float(values[row, 0]), row)]
    assert alarms == []
    assert [(lane, alarm.rising) for _, lane, alarm in found] == [(1, True)]
    assert 28_000 < found[0][0] < 28_100
    assert found[0][2].samples < 10 * 2 ** (LEVELS - 1)
    assert found[0][2].evidence_from == pytest.approx(28_000, abs=20)
    assert adwin_lanes.widths(states)[0] == plain.width < 29_000
    assert states[0, adwin_lanes.TOTAL] == plain.total
    assert states[0, adwin_lanes.VARIANCE] == pytest.approx(plain.variance, rel=1e-12)
    kept = states[0, 3:].reshape(LEVELS, 2, BUCKETS)
    for buckets, level in zip(kept, plain.levels, strict=True):
        assert buckets[0, : len(level)].tolist() == [total for total, _ in level]
        assert buckets[1, : len(level)].tolist() == [time for _, time in level]
        assert not buckets[:, len(level) :].any()


def test_a_lane_is_small() -> None:
    """A lane's memory is fixed, and under 1,300 bytes."""
    assert adwin_lanes.fresh(1).nbytes <= 1300
