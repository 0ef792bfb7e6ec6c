"""ADWIN2 over many lanes at once: the alarms of river's ADWIN, with state of a fixed size.

ADWIN keeps a window of the latest values as buckets that double in size with age, and looks
at every border between two of them; when the means on both sides differ significantly, the signal
has changed. The test is then reset, as river's is.

All values of a block are added at once (`adwin_buckets`), and all checks that are due in it are
made at once (`adwin_borders`), for lanes in any phase. A block is computed as if there were no
alarms; after an alarm, the rest of its lane is computed again.

It differs from river only once the window is full (at about 20,000 values): the oldest bucket is
dropped, with a share of the window's variance in proportion to its number of values, because
buckets store no variance. So a lane's memory is bounded. Instead of a variance each bucket keeps
the time of its first value: the evidence of an alarm begins at a border.

>>> from millrace.drift.detectors.series import pack_series
>>> states = fresh(1)
>>> values = np.concatenate((np.zeros(100), np.ones(60)))[:, None]
>>> series = pack_series(values, np.arange(160))
>>> found = series.by_round(update(states, series))
>>> [(row, alarm.rising, alarm.evidence_from, alarm.samples) for row, _, alarm in found]
[(127, True, 100, 128)]
>>> widths(states).tolist(), means(states).tolist()
([32], [1.0])

Reference: A. Bifet and R. Gavalda, Learning from Time-Changing Data with Adaptive Windowing,
SIAM International Conference on Data Mining (2007).
"""

from __future__ import annotations

from functools import partial
from typing import Final

import numpy as np

from millrace.drift.detectors.adwin_borders import NAME, AdwinSettings, Borders
from millrace.drift.detectors.adwin_buckets import BUCKETS, LEVELS, Buckets, until_drop, width
from millrace.drift.detectors.alarm import Alarm, Found
from millrace.drift.detectors.lane_detector import LaneDetector
from millrace.drift.detectors.series import (
    Block,
    Floats,
    Ints,
    RaggedSeries,
    next_block,
)

#: Fields of a lane: values since the start, total and variance (times the width) of the window, and
#: for each level, from the lowest, its buckets' totals and times.
FIELDS: Final = 3 + LEVELS * 2 * BUCKETS
N, TOTAL, VARIANCE = range(3)
DEFAULT: Final = AdwinSettings()
_LONGEST: Final = 512


def fresh(lanes: int) -> Floats:
    """Create the initial state of lanes: float64 (lanes, FIELDS)."""
    return np.zeros((lanes, FIELDS))


def widths(states: Floats) -> Ints:
    """Values in each lane's window: int64 (lanes,)."""
    return width(states[:, N].astype(np.int64))


def means(states: Floats) -> Floats:
    """Mean of each lane's window, 0 if it is empty: float64 (lanes,)."""
    return states[:, TOTAL] / np.maximum(widths(states), 1)


def update(states: Floats, laid: RaggedSeries, settings: AdwinSettings = DEFAULT) -> list[Found]:
    """Process the next values of lanes.

    Args:
        states: Float64 (lanes, FIELDS), updated in place.
        laid: Values of the same lanes; non-finite values are skipped, and all are clipped to
            `drift.detectors.alarm.LIMIT`.
        settings: Sensitivity of the tests.

    Returns:
        Index in `laid`, lane and alarm of each alarm, in no particular order. Its statistic is the
        difference of means at a border, its threshold the bound there, its samples the width of the
        window. Alarms and states do not depend on how a stream is cut into calls, bit for bit.
    """
    found: list[Found] = []
    used = np.zeros_like(laid.count)
    while (block := next_block(laid, used, _LONGEST)) is not None:
        run = _Run(states, laid, block)
        alarms = run.alarms(settings)
        run.write(alarms)
        for column, (taken, alarm) in alarms.items():
            run.taken[column] = taken
            place = int(block.places[column, taken - 1])
            found.append((place, int(block.lanes[column]), alarm))
        used[block.lanes] += run.taken
    return found


def detector(settings: AdwinSettings = DEFAULT) -> LaneDetector:
    """The test as a detector."""
    return LaneDetector(NAME, settings.spec, fresh, partial(update, settings=settings))


class _Run:
    """A processed block before alarms; a lane's part ends where it drops a bucket."""

    def __init__(self, states: Floats, laid: RaggedSeries, block: Block) -> None:
        self._states, self._lanes = states, block.lanes
        self._n = states[block.lanes, N].astype(np.int64)
        self.taken = np.minimum(block.count, until_drop(self._n))
        values = laid.values[block.places]
        self._total = _running(states[block.lanes, TOTAL], values)
        wide = width(self._n)[:, None] + np.arange(1.0, values.shape[1] + 1.0)
        less = wide - 1.0
        gap = values - self._total[:, :-1] / np.maximum(less, 1.0)
        self._variance = _running(states[block.lanes, VARIANCE], less * gap * gap / wide)
        kept = states[:, 3:].reshape(-1, LEVELS, 2, BUCKETS)
        self._buckets = Buckets(
            kept, block.lanes, self._n, self.taken, values, laid.times[block.places]
        )

    def alarms(self, settings: AdwinSettings) -> dict[int, tuple[int, Alarm]]:
        """Run all checks that are due.

        Returns:
            By lane of the block, its first alarm and the number of values up to it.
        """
        before = self._n // settings.clock
        due = (self._n + self.taken) // settings.clock - before
        columns = np.repeat(np.arange(due.size), due)
        nth = np.arange(1, columns.size + 1) - np.repeat(np.cumsum(due) - due, due)
        n = settings.clock * (before[columns] + nth)
        wide_enough = width(n) > max(settings.grace, 1)
        columns, n = columns[wide_enough], n[wide_enough]
        if not columns.size:
            return {}
        taken = n - self._n[columns]
        borders = Borders(
            n,
            self._total[columns, taken],
            self._variance[columns, taken],
            self._buckets.at(columns, n),
            settings,
        )
        found: dict[int, tuple[int, Alarm]] = {}
        for check in borders.changed.tolist():
            column = int(columns[check])
            if column not in found:
                found[column] = int(taken[check]), borders.alarm(check)
        return found

    def write(self, alarms: dict[int, tuple[int, Alarm]]) -> None:
        """Write the state; lanes with an alarm are reset."""
        columns, n = np.arange(self._n.size), self._n + self.taken
        total, variance = self._total[columns, self.taken], self._variance[columns, self.taken]
        full, lost = self._buckets.dropped()
        if full.size:
            total[full] -= lost
            left = width(n[full])
            variance[full] *= left / (left + (1 << (LEVELS - 1)))
        self._buckets.write()
        states, lanes = self._states, self._lanes
        states[lanes, N], states[lanes, TOTAL], states[lanes, VARIANCE] = n, total, variance
        if alarms:
            states[lanes[list(alarms)]] = 0.0


def _running(first: Floats, added: Floats) -> Floats:
    """Sums after 0, 1, ... values, each added to the one before: float64 (lanes, rounds + 1)."""
    sums = np.concatenate((first[:, None], added), axis=1)
    np.add.accumulate(sums, axis=1, out=sums)
    return sums
