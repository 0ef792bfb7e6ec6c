"""Page-Hinkley over many lanes at once, with the same results as `page_hinkley`, bit for bit.

The test's two recurrences (the running mean, and the sums of deviations) run over the rounds
of a block, each step for all lanes; minima, alarms and evidence are then found for the whole
block. A block is computed as if there were no alarms. After an alarm, the rest of its lane is
computed again, from the initial state.

>>> from millrace.drift.detectors.series import pack_series
>>> settings = PageHinkleySettings(delta=0.1, threshold=5.0, two_sided=True)
>>> states = fresh(2)
>>> values = np.zeros((50, 2))
>>> values[40:, 1] = 1.0
>>> series = pack_series(values, np.arange(50))
>>> found = series.by_round(update(states, series, settings))
>>> [(row, lane, alarm.rising, alarm.evidence_from) for row, lane, alarm in found]
[(46, 1, True, 39)]
>>> states[:, 0].tolist()
[50.0, 3.0]

Reference: E. S. Page, Continuous Inspection Schemes, Biometrika 41 (1954).
"""

from __future__ import annotations

from functools import partial
from typing import Final

import numpy as np

from millrace.drift.detectors.alarm import Alarm, Found
from millrace.drift.detectors.lane_detector import LaneDetector
from millrace.drift.detectors.page_hinkley import NAME, PageHinkleySettings
from millrace.drift.detectors.series import Floats, Ints, RaggedSeries, next_block

#: Fields of a lane, in the order of `drift.detectors.page_hinkley.PageHinkleyState`.
FIELDS: Final = 8
N, MEAN, RISE, RISE_MINIMUM, FALL, FALL_MAXIMUM, RISE_FROM, FALL_FROM = range(FIELDS)
#: Initial state without the times, which an alarm does not reset.
_FRESH: Final = (0.0, 0.0, 0.0, np.inf, 0.0, -1.0)
#: river's forgetting factor.
_ALPHA: Final = 1 - 0.0001
_LONGEST: Final = 256


def fresh(lanes: int) -> Floats:
    """Create the initial state of lanes: float64 (lanes, FIELDS)."""
    states = np.zeros((lanes, FIELDS))
    states[:, :RISE_FROM] = _FRESH
    return states


def update(states: Floats, laid: RaggedSeries, settings: PageHinkleySettings) -> list[Found]:
    """Process the next values of lanes.

    Args:
        states: Float64 (lanes, FIELDS), updated in place.
        laid: Values of the same lanes; non-finite values are skipped, and all are clipped to
            `drift.detectors.alarm.LIMIT`.
        settings: Sensitivity of the tests.

    Returns:
        Index in `laid`, lane and alarm of each alarm, in no particular order. Alarms and states do
        not depend on how a stream is cut into calls, bit for bit.
    """
    found: list[Found] = []
    used = np.zeros_like(laid.count)
    while (block := next_block(laid, used, _LONGEST)) is not None:
        lanes, places = block.lanes, block.places.T
        run = _Run(states[lanes].T.copy(), laid.values[places], block.count, settings)
        states[lanes] = run.after(laid.times, places).T
        used[lanes] += run.taken
        found += [
            (int(places[step, column]), int(lanes[column]), run.alarm(step, column, laid, places))
            for column, step in run.alarmed
        ]
    return found


def detector(settings: PageHinkleySettings) -> LaneDetector:
    """The test as a detector."""
    return LaneDetector(NAME, settings.spec, fresh, partial(update, settings=settings))


class _Run:
    """A processed block: the state of each lane after each of its values."""

    def __init__(
        self, before: Floats, values: Floats, count: Ints, settings: PageHinkleySettings
    ) -> None:
        """Process it; `before` is float64 (FIELDS, lanes), `values` float64 (rounds, lanes)."""
        self._before = before
        self._settings = settings
        self._n = before[N] + np.arange(1.0, len(values) + 1.0)[:, None]
        self._mean = _means(before[MEAN], values, 1.0 / self._n)
        sums = _sums(before, values - self._mean, settings.delta)
        self._rise, self._fall = sums[:, 0], sums[:, 1]
        self.taken, self.alarmed = self._find_alarms(count)

    def _find_alarms(self, count: Ints) -> tuple[Ints, list[tuple[int, int]]]:
        """Count the values up to each lane's first alarm; also returns (lane, round) of these."""
        lowest = np.minimum(np.minimum.accumulate(self._rise), self._before[RISE_MINIMUM])
        over = self._rise - lowest > self._settings.threshold
        if self._settings.two_sided:
            highest = np.maximum(np.maximum.accumulate(self._fall), self._before[FALL_MAXIMUM])
            over |= highest - self._fall > self._settings.threshold
        if not over.any():
            return count, []
        over &= self._n >= self._settings.min_values
        over &= np.arange(len(over))[:, None] < count
        columns = np.flatnonzero(over.any(axis=0))
        steps = over[:, columns].argmax(axis=0)
        taken = count.copy()
        taken[columns] = steps + 1
        return taken, list(zip(columns.tolist(), steps.tolist(), strict=True))

    def after(self, times: Floats, places: Ints) -> Floats:
        """State of each lane after its processed values: float64 (FIELDS, lanes)."""
        last, columns = self.taken - 1, np.arange(self.taken.size)
        rise, fall = self._rise, self._fall
        if last.min() < len(rise) - 1:  # unprocessed values must not count as extremes
            beyond = np.arange(len(rise))[:, None] > last
            rise, fall = np.where(beyond, np.inf, rise), np.where(beyond, -np.inf, fall)
        lowest, highest = rise.argmin(axis=0), fall.argmax(axis=0)
        low, high = rise[lowest, columns], fall[highest, columns]
        lower, higher = low < self._before[RISE_MINIMUM], high > self._before[FALL_MAXIMUM]
        after = np.empty_like(self._before)
        after[N] = self._n[last, columns]
        after[MEAN] = self._mean[last, columns]
        after[RISE] = rise[last, columns]
        after[RISE_MINIMUM] = np.where(lower, low, self._before[RISE_MINIMUM])
        after[RISE_FROM] = np.where(lower, times[places[lowest, columns]], self._before[RISE_FROM])
        after[FALL] = fall[last, columns]
        after[FALL_MAXIMUM] = np.where(higher, high, self._before[FALL_MAXIMUM])
        after[FALL_FROM] = np.where(
            higher, times[places[highest, columns]], self._before[FALL_FROM]
        )
        for column, _ in self.alarmed:
            after[:RISE_FROM, column] = _FRESH
        return after

    def alarm(self, step: int, column: int, laid: RaggedSeries, places: Ints) -> Alarm:
        """Build the alarm that one lane's value raised."""
        before = self._before[:, column]
        rises, falls = self._rise[: step + 1, column], self._fall[: step + 1, column]
        low, high = int(rises.argmin()), int(falls.argmax())
        is_lower, is_higher = rises[low] < before[RISE_MINIMUM], falls[high] > before[FALL_MAXIMUM]
        rise = rises[-1] - (rises[low] if is_lower else before[RISE_MINIMUM])
        fall = (falls[high] if is_higher else before[FALL_MAXIMUM]) - falls[-1]
        rising = bool(rise > self._settings.threshold)
        if rising:
            since = laid.times[places[low, column]] if is_lower else before[RISE_FROM]
        else:
            since = laid.times[places[high, column]] if is_higher else before[FALL_FROM]
        return Alarm(
            statistic=float(rise if rising else fall),
            threshold=self._settings.threshold,
            rising=rising,
            evidence_from=int(since),
            samples=int(self._n[step, column]),
        )


def _means(mean: Floats, values: Floats, weights: Floats) -> Floats:
    """Running mean after each round: float64 (rounds, lanes)."""
    means = np.empty_like(values)
    gap = np.empty_like(mean)
    for value, weight, out in zip(values, weights, means, strict=True):
        np.subtract(value, mean, gap)
        np.multiply(weight, gap, gap)
        np.add(mean, gap, out)
        mean = out
    return means


def _sums(before: Floats, deviations: Floats, delta: float) -> Floats:
    """Sums of deviations up and down after each round: float64 (rounds, 2, lanes)."""
    rounds, lanes = deviations.shape
    sums = np.empty((rounds, 2, lanes))
    last = before[[RISE, FALL]]
    slack = np.repeat(((-delta,), (delta,)), lanes, axis=1)
    alpha = np.full_like(last, _ALPHA)
    kept = np.empty_like(last)
    for deviation, out in zip(deviations, sums, strict=True):
        np.multiply(alpha, last, kept)
        np.add(kept, deviation, kept)
        np.add(kept, slack, out)
        last = out
    return sums
