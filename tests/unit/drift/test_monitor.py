"""An asset's monitor: which epoch it judges, and what it never judges."""

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from contracts.drift_alert import Signal
from drift.monitor import AssetMonitor, Finding, MonitorState

SENSORS = ("flow", "temperature")
QUIET = 0.1
RAISED = 1.5


def feed_errors(
    monitor: AssetMonitor, values: list[float], *, epoch: int = 2, version: int = 1
) -> list[tuple[int, Signal]]:
    """Give errors with neutral skill; indices and signals of what is found."""
    return [
        (index, finding.signal)
        for index, value in enumerate(values)
        for finding in monitor.outcome(epoch, version, value, -0.5, 1000 + index)
    ]


def test_finds_a_rising_error() -> None:
    """An error that rises is a finding of the error signal, with evidence since the rise."""
    monitor = AssetMonitor()
    findings: list[Finding] = []
    for index, value in enumerate([QUIET] * 40 + [RAISED] * 10):
        findings += monitor.outcome(2, 1, value, -0.5, 1000 + index)
    assert [(f.signal, f.sensor, f.detector) for f in findings] == [("error", None, "PageHinkley")]
    assert findings[0].alarm.evidence_from == 1039


def test_finds_lost_skill_while_the_error_falls() -> None:
    """A model that loses its lead is found although its error gets smaller."""
    monitor = AssetMonitor()
    findings: list[Finding] = []
    for index in range(100):
        skill = -0.4 if index < 60 else 0.3
        findings += monitor.outcome(2, 1, 0.5 - index / 400, skill, index)
    assert {f.signal for f in findings} == {"skill"}


def test_each_sensor_has_its_own_test() -> None:
    """One shifted sensor is named; its quiet neighbour is not, and an absent one is no news."""
    monitor = AssetMonitor()
    assert monitor.reference(1) == 1
    names: set[str | None] = set()
    for index in range(120):
        shifted = 0.0 if index < 60 else 3.0
        found = monitor.inputs((*SENSORS, "absent"), [0.0, shifted, None], index)
        names |= {finding.sensor for finding in found}
    assert names == {"temperature"}
    assert set(monitor.state().tests) == {"input/flow", "input/temperature"}


def test_a_new_epoch_starts_afresh() -> None:
    """After a swap the tests know nothing of the error that was normal before it."""
    monitor = AssetMonitor()
    assert feed_errors(monitor, [QUIET] * 60, epoch=2) == []
    assert feed_errors(monitor, [RAISED] * 60, epoch=3, version=2) == []
    assert monitor.state().tests["error"].n == 60


def test_inputs_are_tested_across_swaps() -> None:
    """A machine does not change with a swap: its tests go on, in the first version's units."""
    monitor = AssetMonitor()
    assert [monitor.reference(version) for version in (0, 3, 4, 0)] == [0, 3, 3, 3]
    found: list[Finding] = []
    for index in range(120):
        found += monitor.outcome(2 + index // 70, 3, QUIET, 0.0, index)
        found += monitor.inputs(SENSORS, [0.0, 0.0 if index < 60 else 3.0], index)
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
        assert monitor.inputs(SENSORS, means, index) == []
    assert monitor.state() == MonitorState(epoch, 0, {})


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


@given(cut=st.integers(0, 200), seed=st.integers(0, 5))
def test_restored_monitor_runs_like_the_uninterrupted_one(cut: int, seed: int) -> None:
    """Snapshot and restore anywhere, swaps included: the same findings and the same state."""
    rng = np.random.default_rng(seed)
    means = [[float(x) for x in row] for row in rng.normal(0, 0.5, (200, 2)).cumsum(axis=0)]
    errors = [float(x) for x in abs(rng.normal(0.5, 0.2, 200)) + np.arange(200) // 50 % 2]

    def step(monitor: AssetMonitor, index: int) -> list[Finding]:
        epoch = 2 + index // 80
        monitor.reference(epoch - 1)
        found = monitor.inputs(SENSORS, [*means[index]], index)
        return found + monitor.outcome(epoch, epoch - 1, errors[index], 0.0, index)

    whole, monitor = AssetMonitor(), AssetMonitor()
    expected = [finding for index in range(200) for finding in step(whole, index)]
    found = [finding for index in range(cut) for finding in step(monitor, index)]
    kept = msgspec.msgpack.decode(msgspec.msgpack.encode(monitor.state()), type=MonitorState)
    monitor = AssetMonitor(kept)
    found += [finding for index in range(cut, 200) for finding in step(monitor, index)]
    assert expected
    assert found == expected
    assert monitor.state() == whole.state()
