"""New values of many series, packed into one array, and cut into blocks.

A *lane* is the series of one sensor of one asset. A batch adds a different number of values to
each lane, in order. Non-finite values are removed here, before any detector. The values of a lane
are contiguous, so an asset with a thousand windows beside a thousand assets with one window needs
no padding.

>>> laid = pack_series(np.array([[1.0, 5.0], [np.nan, 6.0], [3.0, 7.0]]), np.array([10, 20, 30]))
>>> [laid.values[start : start + n].tolist() for start, n in zip(laid.start, laid.count)]
[[1.0, 3.0], [5.0, 6.0, 7.0]]
>>> laid.rows[:2].tolist()
[0, 2]
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from millrace.drift.detectors.alarm import LIMIT, Found

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

#: Most values in a block, so that it stays in the CPU cache.
_CELLS: Final = 1 << 16


@dataclass(frozen=True, slots=True)
class RaggedSeries:
    """Values of many lanes.

    Attributes:
        values: All values, float64 (values,); finite and clipped to `LIMIT`.
        times: Their event times in milliseconds, float64 (values,).
        rows: Source row of each value, int64 (values,).
        start: Index of each lane's first value, int64 (lanes,).
        count: Number of values of each lane, int64 (lanes,).
    """

    values: Floats
    times: Floats
    rows: Ints
    start: Ints
    count: Ints

    def by_round(self, found: list[Found]) -> list[Found]:
        """Replace each alarm's index with its row; sorted by row and lane."""
        rounds = [(int(self.rows[place]), lane, alarm) for place, lane, alarm in found]
        return sorted(rounds, key=lambda one: one[:2])


@dataclass(frozen=True, slots=True)
class Block:
    """The next values of some lanes.

    Attributes:
        lanes: Indices of the lanes, int64 (lanes,).
        count: Number of valid values of each, int64 (lanes,); the rest is padding.
        places: Their indices in `RaggedSeries`, int64 (lanes, rounds).
    """

    lanes: Ints
    count: Ints
    places: Ints


def pack_series(
    values: Floats, times: NDArray[np.generic], owners: Ints | None = None, assets: int = 1
) -> RaggedSeries:
    """Pack the values of a batch into one array.

    Args:
        values: Float64 (rows, sensors); non-finite values are removed.
        times: Event times in milliseconds, (rows,), or one per value.
        owners: The asset of each row, int64 (rows,), below `assets`; the first if None.
        assets: Number of assets.

    Returns:
        Lanes in the order of (asset, sensor), each in the order of the rows.
    """
    rows, sensors = values.shape
    if owners is None:
        order, sizes = np.arange(rows), np.array([rows])
    else:
        order = np.argsort(owners, kind="stable")
        sizes = np.bincount(owners, minlength=assets)
    flat = values[order].T.ravel()
    moments = np.asarray(times, np.float64)
    if moments.ndim == 1:
        moments = np.tile(moments[order], sensors)
    else:
        moments = np.broadcast_to(moments, values.shape)[order].T.ravel()
    origin = np.tile(order, sensors)
    start = ((np.cumsum(sizes) - sizes)[:, None] + np.arange(sensors) * rows).ravel()
    count = np.repeat(sizes, sensors)
    finite = np.isfinite(flat)
    if not finite.all():
        kept = np.concatenate(([0], np.cumsum(finite)))
        start, count = kept[start], kept[start + count] - kept[start]
        flat, moments, origin = flat[finite], moments[finite], origin[finite]
    return RaggedSeries(np.clip(flat, -LIMIT, LIMIT), moments, origin, start, count)


def next_block(laid: RaggedSeries, used: Ints, longest: int) -> Block | None:
    """Choose which values to process next.

    The block is as long as possible with no more padding than values, so lanes of unequal length
    waste little and need few blocks.

    Args:
        laid: The values.
        used: Number of processed values of each lane, int64 (lanes,).
        longest: Most values of a lane in a block.

    Returns:
        The block; None when all values are processed.
    """
    lanes = np.flatnonzero(used < laid.count)
    if not lanes.size:
        return None
    left = np.minimum(laid.count[lanes] - used[lanes], longest)
    lengths = np.sort(left)
    longer = np.arange(lanes.size)[::-1]
    filled = np.cumsum(lengths) + lengths * longer
    rounds = int(lengths[np.flatnonzero(lengths * lanes.size <= 2 * filled)[-1]])
    width = max(1, _CELLS // rounds)
    lanes, left = lanes[:width], left[:width]
    places = (laid.start[lanes] + used[lanes])[:, None] + np.arange(rounds)
    np.minimum(places, laid.values.size - 1, out=places)
    return Block(lanes, np.minimum(left, rounds), places)
