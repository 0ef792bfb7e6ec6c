"""Latency before and during a swap."""

from __future__ import annotations

import pytest

from millrace.verification.latency import Arrival, around, percentiles


def test_percentiles_of_nothing_are_unknown() -> None:
    """No windows, no figures."""
    assert percentiles([]).p99_ms is None


def test_percentiles_are_of_the_way_from_edge_to_consumer() -> None:
    """One to a hundred milliseconds."""
    found = percentiles([Arrival(1000, 1000 + n, 1) for n in range(1, 101)])
    assert (found.p50_ms, found.windows) == (50.5, 100)
    assert found.p99_ms == pytest.approx(99.01)


def test_before_and_during_are_told_apart() -> None:
    """Before: done in the half minute before the approval; during: under way at some time of it."""
    arrivals = [
        Arrival(60_000, 60_010, 1),  # long before
        Arrival(95_000, 95_020, 1),  # before
        Arrival(99_990, 100_030, 1),  # under way at the approval
        Arrival(101_000, 101_040, 1),  # within
        Arrival(102_990, 103_050, 2),  # among the first after it
        Arrival(103_010, 103_060, 2),  # after
    ]
    found = around(arrivals, 100_000, 102_000)
    assert (found.before.windows, found.before.p99_ms) == (1, 20)
    assert (found.during.windows, found.during.p50_ms) == (3, 40)
