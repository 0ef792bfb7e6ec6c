"""ADWIN's buckets for many lanes: adds new values, and reconstructs the buckets in between.

Level i keeps a few buckets of 2^i values each; when a level has one too many, its two oldest
become one of the next level. Bucket j of level i thus always holds the values j 2^i to
(j + 1) 2^i - 1 since the start, and *which* buckets there are follows from the number of
values alone. So the values of a block are added level by level, for all lanes at once; each
level has half as many lanes to touch as the one below it, or half as many buckets to add.

>>> made(np.array([5, 6, 8])).tolist()[1][:3]
[6, 1, 0]
>>> oldest(made(np.array([8])))[0, :2].tolist()
[4, 0]
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from millrace.drift.detectors.series import Floats, Ints

Flags = NDArray[np.bool_]

#: Number of levels, and of buckets per level.
LEVELS: Final = 12
BUCKETS: Final = 5
TOP: Final = LEVELS - 1
#: Fields of a bucket: its total, and the event time of its first value.
TOTALS, TIMES = range(2)
_SLOT: Final = np.arange(BUCKETS)
_LEVEL: Final = np.arange(LEVELS)


def made(n: Ints) -> Ints:
    """Number of buckets that each level has received after `n` values: int64 (..., LEVELS)."""
    given: Ints = np.maximum(((n[..., None] + 4) >> _LEVEL) - 4, 0)
    return given


def oldest(given: Ints) -> Ints:
    """Index of the oldest bucket that each level still has: int64 (..., LEVELS)."""
    first = np.empty_like(given)
    first[..., :TOP] = 2 * given[..., 1:]
    first[..., TOP] = np.maximum(given[..., TOP] - BUCKETS, 0)
    return first


def width(n: Ints) -> Ints:
    """Values in the window after `n`: all, until the oldest buckets are dropped."""
    dropped: Ints = np.maximum(((n + 4) >> TOP) - 4 - BUCKETS, 0)
    return n - (dropped << TOP)


def until_drop(n: Ints) -> Ints:
    """Values until the highest level receives its next bucket, and may drop one."""
    return (((n + 4 >> TOP) + 1) << TOP) - 4 - n


class Buckets:
    """Buckets of some lanes while values are added.

    The state is unchanged before `write`, so until then the buckets after any of the values can be
    read.
    """

    def __init__(
        self, kept: Floats, lanes: Ints, n: Ints, taken: Ints, values: Floats, times: Floats
    ) -> None:
        """Add values.

        Args:
            kept: View of the state, float64 (all lanes, LEVELS, 2, BUCKETS): totals and
                times from the oldest bucket to the newest, 0 where there is none.
            lanes: Lanes that receive values, int64 (lanes,).
            n: Number of earlier values of each, int64 (lanes,).
            taken: Number of new values of each, int64 (lanes,); at most `until_drop`.
            values: The values, float64 (lanes, rounds).
            times: Their event times, float64 (lanes, rounds).
        """
        self._kept = kept
        self._lanes = lanes
        self._levels: list[_Level] = []
        level = _Level(0, np.arange(lanes.size), n, n + taken)
        added = np.stack((values, times), axis=1)
        while True:
            level.add(kept[lanes[level.rows], level.number], added)
            self._levels.append(level)
            if level.number == TOP:
                break
            merges = level.merges()
            grows = np.flatnonzero(merges)
            if not grows.size:
                break
            added = level.pairs(grows, int(merges.max()))
            level = level.next(grows)

    def at(self, columns: Ints, n: Ints) -> tuple[Flags, Floats]:
        """Buckets of lanes after `n` values.

        Args:
            columns: Indices of the lanes, int64 (m,).
            n: Number of values of each at that point, int64 (m,).

        Returns:
            Which slots hold a bucket, bool (m, LEVELS, BUCKETS); totals and times, 0 where
            there is none, float64 (m, LEVELS, 2, BUCKETS).
        """
        buckets = self._kept[self._lanes[columns]]
        place = np.empty(self._lanes.size, np.int64)
        for level in self._levels:
            place.fill(-1)
            place[level.rows] = np.arange(level.rows.size)
            rows = place[columns]
            grown = np.flatnonzero(rows >= 0)
            buckets[grown, level.number] = level.after(rows[grown], n[grown])
        given = made(n)
        return (given - oldest(given))[:, :, None] > _SLOT, buckets

    def dropped(self) -> tuple[Ints, Floats]:
        """Lanes whose last value made the highest level drop a bucket, and its total."""
        if len(self._levels) < LEVELS:
            return np.zeros(0, np.int64), np.zeros(0)
        return self._levels[TOP].dropped()

    def write(self) -> None:
        """Write the buckets into the state."""
        for level in self._levels:
            every = np.arange(level.rows.size)
            self._kept[self._lanes[level.rows], level.number] = level.after(every, level.n_after)


class _Level:
    """Buckets of one level of the lanes that receive any there, kept ones first."""

    def __init__(self, number: int, rows: Ints, n: Ints, n_after: Ints) -> None:
        self.number = number
        self.rows = rows
        self.n_after = n_after
        self._n = n
        self._first = _oldest_at(number, n)
        self._held: Floats = np.zeros((rows.size, 2, BUCKETS))

    def add(self, kept: Floats, added: Floats) -> None:
        """Append buckets to the kept ones: both float64 (lanes, 2, buckets)."""
        more = added.shape[2]
        self._held = np.zeros((self.rows.size, 2, BUCKETS + more + 1))  # a slice may end past it
        self._held[:, :, :BUCKETS] = kept
        live = _made_at(self.number, self._n) - self._first
        _slices(self._held, more)[np.arange(self.rows.size), :, live] = added

    def merges(self) -> Ints:
        """Number of buckets that this level passes to the next one: int64 (lanes,)."""
        above = self.number + 1
        return _made_at(above, self.n_after) - _made_at(above, self._n)

    def pairs(self, rows: Ints, most: int) -> Floats:
        """Merge the oldest buckets of some lanes two by two: float64 (m, 2, most)."""
        held = self._held[rows, :, : 2 * most]
        merged = held[:, :, ::2].copy()
        merged[:, TOTALS] += held[:, TOTALS, 1::2]
        return merged

    def next(self, rows: Ints) -> _Level:
        """Build the next level from some of the lanes."""
        return _Level(self.number + 1, self.rows[rows], self._n[rows], self.n_after[rows])

    def after(self, rows: Ints, n: Ints) -> Floats:
        """Buckets of some lanes after `n` values: float64 (m, 2, BUCKETS)."""
        first = _oldest_at(self.number, n)
        found = _slices(self._held, BUCKETS)[rows, :, first - self._first[rows]]
        is_gone = (_made_at(self.number, n) - first)[:, None] <= _SLOT
        found[np.repeat(is_gone[:, None], 2, axis=1)] = 0.0
        return found

    def dropped(self) -> tuple[Ints, Floats]:
        """Lanes of the highest level that drop a bucket at the end, and its total."""
        full = np.flatnonzero(_made_at(TOP, self.n_after) > BUCKETS)
        return self.rows[full], self._held[full, TOTALS, 0]


def _slices(held: Floats, size: int) -> Floats:
    """View of all slices of consecutive buckets: float64 (lanes, 2, places, size)."""
    lanes, numbers, buckets = held.shape
    shape = (lanes, numbers, buckets - size + 1, size)
    return np.ndarray(shape, held.dtype, held, strides=(*held.strides, held.strides[2]))


def _made_at(level: int, n: Ints) -> Ints:
    given: Ints = np.maximum(((n + 4) >> level) - 4, 0)
    return given


def _oldest_at(level: int, n: Ints) -> Ints:
    if level == TOP:
        first: Ints = np.maximum(_made_at(TOP, n) - BUCKETS, 0)
        return first
    return 2 * _made_at(level + 1, n)
