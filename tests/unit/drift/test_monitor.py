"""An asset's monitor: which epoch it judges, what it never judges, and batches of windows."""

import sys
from itertools import pairwise

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from millrace.contracts.events.drift_alert import Signal
from millrace.drift.detectors import adwin_lanes, page_hinkley_lanes
from millrace.drift.detectors.page_hinkley import PageHinkley, PageHinkleyState
from millrace.drift.detectors.series import Floats, Ints
from millrace.drift.monitor import AssetMonitor, Finding, MonitorState, watch_inputs
from millrace.drift.policy import INPUT
from millrace.drift.selection import Detectors, detectors, key_of

SENSORS = ("flow", "temperature")
#: Page-Hinkley on all signals; the same with ADWIN on inputs; ADWIN alone; nothing.
DEFAULT, BOTH, ADWIN, NOTHING = (
    detectors(inputs=inputs, error="PageHinkley", skill="PageHinkley")
    for inputs in ("PageHinkley", "PageHinkley, ADWIN", "ADWIN", "")
)
QUIET = 0.1
RAISED = 1.5


def numbers(monitor: AssetMonitor) -> Floats:
    """State of the Page-Hinkley tests on inputs."""
    state = monitor.state().memories[key_of("input", DEFAULT.input[0].spec)]
    return np.frombuffer(state, "<f8").reshape(-1, page_hinkley_lanes.FIELDS)


def feed_errors(
    monitor: AssetMonitor, values: list[float], *, epoch: int = 2, version: int = 1
) -> list[tuple[int, Signal]]:
    """Give errors with neutral skill; indices and signals of what is found."""
    return [
        (index, finding.signal)
        for index, value in enumerate(values)
        for finding in monitor.outcome(epoch, version, value, -0.5, 1000 + index, DEFAULT)
    ]


def test_finds_a_rising_error() -> None:
    """An error that rises is a finding of the error signal, with evidence since the rise."""
    monitor = AssetMonitor()
    findings: list[Finding] = []
    for index, value in enumerate([QUIET] * 40 + [RAISED] * 10):
        findings += monitor.outcome(2, 1, value, -0.5, 1000 + index, DEFAULT)
    assert [(f.signal, f.sensor, f.detector) for f in findings] == [("error", None, "PageHinkley")]
    assert findings[0].alarm.evidence_from == 1039


def test_finds_lost_skill_while_the_error_falls() -> None:
    """A model that loses its lead is found although its error gets smaller."""
    monitor = AssetMonitor()
    findings: list[Finding] = []
    for index in range(100):
        skill = -0.4 if index < 60 else 0.3
        findings += monitor.outcome(2, 1, 0.5 - index / 400, skill, index, DEFAULT)
    assert {f.signal for f in findings} == {"skill"}


def test_each_sensor_has_its_own_test() -> None:
    """One shifted sensor is named; its quiet neighbour is not, and an absent one is no news."""
    monitor = AssetMonitor()
    assert monitor.reference(1) == 1
    names: set[str | None] = set()
    for index in range(120):
        shifted = 0.0 if index < 60 else 3.0
        found = monitor.inputs((*SENSORS, "absent"), [0.0, shifted, None], index, DEFAULT)
        names |= {finding.sensor for finding in found}
    assert names == {"temperature"}
    assert numbers(monitor)[:, page_hinkley_lanes.N].tolist()[::2] == [120, 0]


def test_a_new_epoch_starts_afresh() -> None:
    """After a swap the tests know nothing of the error that was normal before it."""
    monitor = AssetMonitor()
    assert feed_errors(monitor, [QUIET] * 60, epoch=2) == []
    assert feed_errors(monitor, [RAISED] * 60, epoch=3, version=2) == []
    state = monitor.state().memories[key_of("error", DEFAULT.error[0].spec)]
    (test,) = msgspec.msgpack.decode(state, type=list[PageHinkleyState])
    assert test.n == 60


def test_inputs_are_tested_across_swaps() -> None:
    """A machine does not change with a swap: its tests go on, in the first version's units."""
    monitor = AssetMonitor()
    assert [monitor.reference(version) for version in (0, 3, 4, 0)] == [0, 3, 3, 3]
    found: list[Finding] = []
    for index in range(120):
        found += monitor.outcome(2 + index // 70, 3, QUIET, 0.0, index, DEFAULT)
        found += monitor.inputs(SENSORS, [0.0, 0.0 if index < 60 else 3.0], index, DEFAULT)
    assert [finding.sensor for finding in found] == ["temperature"]
    assert found[0].alarm.evidence_from == 59


@pytest.mark.parametrize("epoch", [1, 5])
def test_persistence_never_alarms(epoch: int) -> None:
    """Version 0 has learned nothing that could be forgotten: nothing is tested."""
    monitor = AssetMonitor()
    assert feed_errors(monitor, [QUIET] * 40 + [50.0] * 100, epoch=epoch, version=0) == []
    for index in range(200):
        means = [0.0, 0.0] if index < 100 else [90.0, 90.0]
        assert monitor.reference(0) == 0
        assert monitor.inputs(SENSORS, means, index, DEFAULT) == []
    assert monitor.state() == MonitorState(epoch, 0)


def test_late_outcomes_of_an_older_epoch_are_not_judged() -> None:
    """An outcome whose model has been replaced changes nothing."""
    monitor = AssetMonitor()
    feed_errors(monitor, [QUIET] * 40, epoch=3, version=2)
    before = monitor.state()
    assert feed_errors(monitor, [RAISED] * 100, epoch=2, version=1) == []
    assert monitor.state() == before


def test_rollback_to_an_older_version_is_followed() -> None:
    """Epochs, not versions, decide: version 1 is judged again when it serves again."""
    monitor = AssetMonitor()
    feed_errors(monitor, [QUIET] * 40, epoch=3, version=2)
    found = feed_errors(monitor, [QUIET] * 40 + [RAISED] * 10, epoch=4, version=1)
    assert [signal for _, signal in found] == ["error"]
    assert monitor.state().epoch == 4


@settings(deadline=None, max_examples=10)
@given(cut=st.integers(0, 200), seed=st.integers(0, 5))
def test_restored_monitor_runs_like_the_uninterrupted_one(cut: int, seed: int) -> None:
    """Snapshot and restore anywhere, swaps included: the same findings and the same state."""
    rng = np.random.default_rng(seed)
    means = [[float(x) for x in row] for row in rng.normal(0, 0.5, (200, 2)).cumsum(axis=0)]
    errors = [float(x) for x in abs(rng.normal(0.5, 0.2, 200)) + np.arange(200) // 50 % 2]

    def step(monitor: AssetMonitor, index: int) -> list[Finding]:
        epoch = 2 + index // 80
        monitor.reference(epoch - 1)
        found = monitor.inputs(SENSORS, [*means[index]], index, BOTH)
        return found + monitor.outcome(epoch, epoch - 1, errors[index], 0.0, index, BOTH)

    whole, monitor = AssetMonitor(), AssetMonitor()
    expected = [finding for index in range(200) for finding in step(whole, index)]
    found = [finding for index in range(cut) for finding in step(monitor, index)]
    kept = msgspec.msgpack.decode(msgspec.msgpack.encode(monitor.state()), type=MonitorState)
    monitor = AssetMonitor(kept)
    found += [finding for index in range(cut, 200) for finding in step(monitor, index)]
    assert expected
    assert found == expected
    assert monitor.state() == whole.state()


def batch(seed: int, assets: int, rows: int) -> tuple[Ints, Floats, Ints]:
    """Seeded rows of unequal assets, with shifts and absent sensors: asset, means, time."""
    rng = np.random.default_rng(seed)
    owners = np.minimum(rng.geometric(0.5, rows) - 1, assets - 1)
    means = rng.normal(0, 0.5, (rows, 2)) + 4.0 * (np.arange(rows) // 150 % 2)[:, None]
    means[rng.random((rows, 2)) < 0.1] = np.nan
    return owners, means, rng.integers(0, 10**12, rows)


@settings(deadline=None, max_examples=25)
@given(
    seed=st.integers(0, 100),
    cuts=st.lists(st.integers(0, 400), max_size=4),
    chosen=st.sampled_from([DEFAULT, BOTH, ADWIN]),
)
def test_a_batch_equals_its_windows_one_by_one(
    seed: int, cuts: list[int], chosen: Detectors
) -> None:
    """Findings in order, and snapshots to the last byte, whatever comes in which batch."""
    owners, means, times = batch(seed, assets=4, rows=400)
    versions = (1, 2, 0, 3)
    together, alone = ([AssetMonitor() for _ in versions] for _ in range(2))
    for monitors in (together, alone):
        for monitor, version in zip(monitors, versions, strict=True):
            monitor.reference(version)
    found = []
    edges = [0, *sorted(cuts), 400]
    for start, end in pairwise(edges):
        rows = slice(start, end)
        findings = watch_inputs(together, owners[rows], means[rows], times[rows], SENSORS, chosen)
        found += [(start + row, finding) for row, finding in findings]
    expected = [
        (row, finding)
        for row, owner in enumerate(owners)
        for finding in alone[owner].inputs(
            SENSORS,
            [None if np.isnan(mean) else float(mean) for mean in means[row]],
            int(times[row]),
            chosen,
        )
    ]
    assert expected
    assert found == expected
    snapshots = [msgspec.msgpack.encode(monitor.state()) for monitor in together]
    assert snapshots == [msgspec.msgpack.encode(monitor.state()) for monitor in alone]
    assert together[2].state() == MonitorState()


def test_inputs_are_tested_as_river_does() -> None:
    """The tests of a batch find what river's own Page-Hinkley finds, sensor by sensor."""
    owners, means, times = batch(3, assets=3, rows=600)
    monitors = [AssetMonitor() for _ in range(3)]
    for monitor in monitors:
        monitor.reference(1)
    tests = [[PageHinkley(INPUT) for _ in SENSORS] for _ in monitors]
    expected = [
        (row, sensor, alarm)
        for row, owner in enumerate(owners)
        for sensor, test, mean in zip(SENSORS, tests[owner], means[row], strict=True)
        if (alarm := test.update(float(mean), int(times[row]))) is not None
    ]
    found = watch_inputs(monitors, owners, means, times, SENSORS, DEFAULT)
    assert expected
    assert [(row, finding.sensor, finding.alarm) for row, finding in found] == expected
    assert {(f.signal, f.detector) for _, f in found} == {("input", "PageHinkley")}


def test_both_detectors_name_themselves() -> None:
    """One shift, found by each detector that runs, and by no other."""
    means = np.repeat([[0.0, 0.0], [0.0, 4.0]], [100, 100], axis=0)
    found = []
    for chosen in (NOTHING, DEFAULT, BOTH):
        monitor = AssetMonitor()
        monitor.reference(1)
        findings = watch_inputs(
            [monitor], np.zeros(200, int), means, np.arange(200), SENSORS, chosen
        )
        found.append({(f.sensor, f.detector) for _, f in findings})
    assert found == [
        set(),
        {("temperature", "PageHinkley")},
        {("temperature", "PageHinkley"), ("temperature", "ADWIN")},
    ]


def test_a_detector_that_stops_is_forgotten() -> None:
    """State of a detector that does not run any more is not carried along."""
    monitor = AssetMonitor()
    monitor.reference(1)
    monitor.inputs(SENSORS, [0.0, 0.0], 0, BOTH)
    adwin = key_of("input", BOTH.input[1].spec)
    assert len(monitor.state().memories[adwin]) == 2 * 8 * adwin_lanes.FIELDS
    monitor.inputs(SENSORS, [0.0, 0.0], 1, DEFAULT)
    assert adwin not in monitor.state().memories
    assert numbers(monitor)[:, page_hinkley_lanes.N].tolist() == [2, 2]


def test_other_sensors_start_afresh() -> None:
    """A snapshot of another number of sensors is not mistaken for these."""
    monitor = AssetMonitor()
    monitor.reference(1)
    monitor.inputs(SENSORS, [1.0, 1.0], 0, DEFAULT)
    restored = AssetMonitor(monitor.state())
    restored.inputs((*SENSORS, "pressure"), [1.0, 1.0, 1.0], 1, DEFAULT)
    assert numbers(restored)[:, page_hinkley_lanes.N].tolist() == [1, 1, 1]


@pytest.mark.parametrize(("chosen", "most"), [(DEFAULT, 1_000), (BOTH, 9_000)])
def test_memory_of_an_asset_with_eight_sensors(chosen: Detectors, most: int) -> None:
    """Monitor and arrays of the tests on inputs stay within the stated bytes."""
    monitor = AssetMonitor()
    monitor.reference(1)
    sensors = [f"sensor-{n}" for n in range(8)]
    monitor.inputs(sensors, [0.0] * 8, 0, chosen)
    states = [memory.state() for memory in monitor.input_tests(8, chosen)]
    assert not hasattr(monitor, "__dict__")
    assert sys.getsizeof(monitor) + sum(map(sys.getsizeof, states)) <= most
    assert sum(map(len, monitor.state().memories.values())) <= most
