"""Laying values end to end, and cutting them into blocks."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from millrace.drift.detectors.alarm import LIMIT
from millrace.drift.detectors.series import RaggedSeries, next_block, pack_series


def lists(laid: RaggedSeries) -> list[list[float]]:
    """Values of each lane."""
    return [
        laid.values[start : start + count].tolist()
        for start, count in zip(laid.start, laid.count, strict=True)
    ]


@given(
    values=arrays(np.float64, st.tuples(st.integers(0, 12), st.integers(1, 3))),
    seed=st.integers(0, 9),
)
def test_every_number_lies_in_its_lane_in_order(
    values: np.ndarray[tuple[int, int], np.dtype[np.float64]], seed: int
) -> None:
    """A lane holds exactly the finite values of its asset and sensor, with row and time."""
    rows, sensors = values.shape
    owners = np.random.default_rng(seed).integers(0, 4, rows)
    times = 100 + 10 * np.arange(rows)
    laid = pack_series(values, times, owners, 4)
    expected = [
        [row for row in range(rows) if owners[row] == asset and math.isfinite(values[row, sensor])]
        for asset in range(4)
        for sensor in range(sensors)
    ]
    clipped = np.clip(values, -LIMIT, LIMIT)
    assert lists(laid) == [
        [clipped[row, lane % sensors] for row in mine] for lane, mine in enumerate(expected)
    ]
    for start, mine in zip(laid.start, expected, strict=True):
        assert laid.rows[start : start + len(mine)].tolist() == mine
        assert laid.times[start : start + len(mine)].tolist() == times[mine].tolist()


def test_times_may_differ_by_value() -> None:
    """Each value keeps its own time where times are given per value."""
    laid = pack_series(np.array([[1.0, 2.0], [3.0, np.nan]]), np.array([[1, 2], [3, 4]]))
    assert laid.times.tolist() == [1, 3, 2]


@pytest.mark.parametrize(
    "counts", [[1] * 1000 + [1000], [200, 190, 210, 205], [7], [0, 0], list(range(50))]
)
def test_blocks_take_all_values_once_with_little_padding(counts: list[int]) -> None:
    """However unequal the lanes: each value is in one block, in order, few blocks, small ones."""
    owners = np.repeat(np.arange(len(counts)), counts)
    laid = pack_series(np.zeros((owners.size, 1)), np.arange(owners.size), owners, len(counts))
    used = np.zeros_like(laid.count)
    cells = blocks = 0
    while (block := next_block(laid, used, longest=128)) is not None:
        for lane, count, places in zip(block.lanes, block.count, block.places, strict=True):
            start = laid.start[lane] + used[lane]
            assert places[:count].tolist() == list(range(start, start + count))
            used[lane] += count
        cells += block.places.size
        blocks += 1
    assert used.tolist() == counts
    assert cells <= 2 * sum(counts)
    assert blocks <= 10
