"""What the memory benchmark makes of its samples."""

import math

from benchmarks.memory import Samples, _row
from benchmarks.result import Row
from benchmarks.service import Cost


def samples(sizes: list[float]) -> Samples:
    """One process, seen once a second."""
    return [(float(at), {"it": Cost(0.1 * at, size, size)}) for at, size in enumerate(sizes)]


def row(sizes: list[float]) -> Row:
    """Judge them with a warm-up of ten seconds and medians over ten."""
    return _row("it", samples(sizes), 10.0, 10.0)


def number(made: Row, name: str) -> float:
    """Take a cell that is a number."""
    cell = made[name]
    assert isinstance(cell, float)
    return cell


def test_a_process_that_fills_up_and_stops_grows_in_the_first_half_only() -> None:
    """The warm-up does not count, nor does a single peak."""
    made = row([50.0] * 10 + [100.0] * 15 + [110.0] * 40 + [500.0] + [110.0] * 34)
    assert round(number(made, "growth %")) == 10
    assert number(made, "growth in the second half %") == 0.0
    assert made["highest RSS"] == 500.0


def test_a_leak_grows_in_both_halves() -> None:
    """As much in each."""
    made = row([100.0 + at for at in range(100)])
    grown, second = number(made, "growth %"), number(made, "growth in the second half %")
    assert grown > 50
    assert 0.25 * grown < second < 0.5 * grown


def test_a_process_that_ended_early_has_no_growth() -> None:
    """There is nothing after the warm-up that it could be measured by."""
    assert math.isnan(number(row([100.0] * 5), "growth %"))
