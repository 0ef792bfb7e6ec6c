"""Every drift detector: finds a change, once; depends on its series alone; survives a restart.

A detector of your own is added to `DETECTORS`.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import msgspec
import numpy as np
import pytest
from numpy.typing import NDArray

from millrace.drift.detectors import adwin_lanes, page_hinkley_lanes
from millrace.drift.detectors.alarm import Alarm
from millrace.drift.detectors.base import Detector
from millrace.drift.detectors.page_hinkley import PageHinkleyDetector, PageHinkleySettings
from millrace.drift.detectors.river_adapter import river_detector
from millrace.drift.detectors.series import pack_series
from tests.conformance.pages import example

_PAGE_HINKLEY = PageHinkleySettings(delta=0.25, threshold=30.0, two_sided=True)
DETECTORS: list[Detector[Any]] = [
    page_hinkley_lanes.detector(_PAGE_HINKLEY),
    PageHinkleyDetector(_PAGE_HINKLEY),
    adwin_lanes.detector(),
    river_detector("KSWIN", {"alpha": 0.0001}),
    river_detector("PageHinkley", {"delta": 0.25, "threshold": 30.0}),
    river_detector("DDM", {"above": 2.0}),
    river_detector("EDDM", {"above": 2.0}),
    river_detector("FHDDM", {"below": 2.0}),
    river_detector("HDDMA", {"above": 2.0}),
    river_detector("HDDMW", {"above": 2.0}),
    example("detectors.md").FarFromMean(distance=3.8),
]
each = pytest.mark.parametrize("detector", DETECTORS, ids=lambda d: f"{type(d).__name__} {d.spec}")

#: Values before the change, and after it.
QUIET, LOUD = 300, 300
SERIES = 3

Found = list[tuple[int, Alarm]]


def signal(seed: int, *, shift: float = 4.0) -> NDArray[np.float64]:
    """Seeded noise of unit width about 0, which rises by ``shift`` after `QUIET` values."""
    values = np.random.default_rng(seed).normal(0.0, 1.0, QUIET + LOUD)
    values[QUIET:] += shift
    return values


def run(
    detector: Detector[Any],
    memory: Any,
    values: NDArray[np.float64],
    since: int,
    series: int = 0,
) -> Found:
    """Alarms of values one at a time, with the index of each."""
    found = (
        (index, detector.take(memory, float(value), 1000 * index, series))
        for index, value in enumerate(values, since)
    )
    return [(i, alarm) for i, alarm in found if alarm is not None]


@each
def test_a_change_is_found_with_its_evidence(detector: Detector[Any]) -> None:
    """Soon after the signal rose; it says which way, since when, and out of how many values."""
    found = run(detector, detector.fresh(1), signal(1), 0)
    late = [(index, alarm) for index, alarm in found if index >= QUIET]
    assert len(found) - len(late) <= 2  # EDDM and DDM have false alarms: river's affair
    index, alarm = late[0]
    assert index < QUIET + 150
    assert alarm.rising
    assert 0 < alarm.samples <= index + 1
    assert alarm.evidence_from <= 1000 * index
    assert (alarm.statistic is None) == (alarm.threshold is None)
    if alarm.statistic is not None and alarm.threshold is not None:
        assert alarm.statistic > alarm.threshold


@each
def test_a_restart_between_any_two_values_changes_nothing(detector: Detector[Any]) -> None:
    """A snapshot is plain data; what is restored from it alarms and remembers the same."""
    values = signal(2)
    whole = detector.fresh(1)
    expected = run(detector, whole, values, 0)
    assert expected
    memory, found = detector.fresh(1), []
    for begin in range(0, len(values), 7):
        found += run(detector, memory, values[begin : begin + 7], begin)
        memory = detector.restore(memory.state(), 1)
    assert found == expected
    assert memory.state() == whole.state()


@each
def test_series_do_not_touch_each_other(detector: Detector[Any]) -> None:
    """Many series and assets in one call: the alarms and memories of each by itself."""
    assets = 2
    values = np.stack([signal(seed) for seed in range(assets * SERIES)])
    together = [detector.fresh(SERIES) for _ in range(assets)]
    found: set[tuple[int, int, Alarm]] = set()
    for begin, end in _cuts(values.shape[1]):
        rows = values[:, begin:end].reshape(assets, SERIES, -1).transpose(2, 0, 1)
        owners = np.tile(np.arange(assets), end - begin)
        times = 1000 * np.repeat(np.arange(begin, end), assets)
        laid = pack_series(rows.reshape(-1, SERIES), times, owners, assets)
        for place, lane, alarm in detector.take_all(together, laid):
            found.add((lane, int(laid.times[place]) // 1000, alarm))
    expected: set[tuple[int, int, Alarm]] = set()
    for asset in range(assets):
        alone = detector.fresh(SERIES)
        for series in reversed(range(SERIES)):
            lane = asset * SERIES + series
            alarms = run(detector, alone, values[lane], 0, series)
            expected |= {(lane, index, alarm) for index, alarm in alarms}
        assert alone.state() == together[asset].state()
    assert expected
    assert found == expected


@each
def test_what_is_no_number_is_passed_over(detector: Detector[Any]) -> None:
    """NaN and infinities leave no trace; an absurd reading is held, and blinds no test."""
    values = signal(3)
    expected = run(detector, detector.fresh(1), values, 0)
    memory, found = detector.fresh(1), []
    for index, value in enumerate(values):
        for nothing in (np.nan, np.inf, -np.inf):
            assert detector.take(memory, nothing, 1000 * index) is None
        found += run(detector, memory, np.array([value]), index)
    assert found == expected
    for index, value in enumerate(np.concatenate(([1e300], signal(4)))):
        found += run(detector, memory, np.array([value]), len(values) + index)
    assert any(index > len(values) + QUIET for index, _ in found)


@each
def test_a_snapshot_of_other_series_starts_afresh(detector: Detector[Any]) -> None:
    """A model whose number of sensors has changed takes over nothing."""
    memory = detector.fresh(2)
    detector.take(memory, 1.0, 0)
    assert detector.restore(memory.state(), 3).state() == detector.fresh(3).state()


@each
def test_it_names_itself_with_all_of_its_settings(detector: Detector[Any]) -> None:
    """Alerts have its name; snapshots are kept under name and settings."""
    assert detector.spec.startswith(f"{detector.name}(")
    assert len(msgspec.msgpack.encode(detector.spec)) < 300


def _cuts(length: int) -> Iterator[tuple[int, int]]:
    """Uneven pieces of a stream."""
    edges = [0, 1, 2, 50, 51, 290, 305, 450, length]
    yield from pairwise(edges)
