"""One asset's detectors: tests per sensor on inputs, and tests on error and skill.

The tests on error and skill belong to the serving epoch: another version has another normal error,
so a swap resets them. The machine itself does not change with a swap, so the tests on inputs
continue, in the units of one reference version: the first trained one that served the asset.
Version 0, persistence, has no training data to compare with, so inputs are not tested until a
trained version serves.

Inputs are processed in batches: `watch_inputs` takes the windows of many assets at once. One call
with a batch gives exactly the same findings and state as a call for each window.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import msgspec
import numpy as np
from numpy.typing import NDArray

from millrace.contracts.events.drift_alert import Signal
from millrace.contracts.model_spec import PERSISTENCE
from millrace.drift.detectors.alarm import Alarm
from millrace.drift.detectors.base import Detector, Memory
from millrace.drift.detectors.series import Floats, pack_series
from millrace.drift.selection import Detectors, TestedSignal, key_of

#: Detectors of a signal, in order, with their memory.
_Tests = tuple[tuple[Detector[Any], Memory], ...]

_LOSSES: Final[tuple[TestedSignal, ...]] = ("error", "skill")


class Finding(msgspec.Struct, frozen=True):
    """An alarm and the signal that raised it."""

    signal: Signal
    sensor: str | None
    detector: str
    alarm: Alarm


class MonitorState(msgspec.Struct):
    """Snapshot of a monitor.

    Attributes:
        epoch: Serving epoch that the tests on error and skill belong to.
        reference: Version in whose units inputs are tested; 0 while there is none.
        memories: Memory of each detector, by signal and detector (`key_of`).
    """

    epoch: int = 0
    reference: int = PERSISTENCE
    memories: dict[str, bytes] = {}

    def without_tests(self) -> MonitorState:
        """The same monitor without the detectors' state."""
        return MonitorState(self.epoch, self.reference)


class AssetMonitor:
    """An asset's tests. Time is event time in milliseconds.

    It keeps only the memories of the detectors that were passed last.
    """

    __slots__ = ("_detectors", "_epoch", "_kept", "_reference", "_sensors", "_tests")

    def __init__(self, state: MonitorState | None = None) -> None:
        """Start with initial state, or from a snapshot."""
        state = state or MonitorState()
        self._epoch = state.epoch
        self._reference = state.reference
        self._kept = dict(state.memories)
        self._detectors: Detectors | None = None
        self._sensors = 0
        self._tests: dict[TestedSignal, _Tests] = {}

    def reference(self, version: int) -> int:
        """Return the version in whose units inputs are tested.

        Args:
            version: Version that serves; the first trained one becomes the reference.

        Returns:
            The reference version; 0 while there is none, and then inputs are not tested.
        """
        if self._reference == PERSISTENCE:
            self._reference = version
        return self._reference

    def inputs(
        self,
        sensors: Sequence[str],
        means: Sequence[float | None],
        time: int,
        detectors: Detectors,
    ) -> list[Finding]:
        """Process one window's mean per sensor: `watch_inputs` with a single row.

        Args:
            sensors: Sensor names.
            means: Mean of each sensor in the units of the reference version; None where it
                is absent.
            time: Event time of the window's end.
            detectors: Which detectors run.
        """
        row = np.array([means], np.float64)
        found = watch_inputs(
            [self], np.zeros(1, np.int64), row, np.array([time]), tuple(sensors), detectors
        )
        return [finding for _, finding in found]

    def outcome(
        self,
        epoch: int,
        version: int,
        error: float,
        skill: float,
        time: int,
        detectors: Detectors,
    ) -> list[Finding]:
        """Process a forecast's error and skill.

        Args:
            epoch: Serving epoch of the forecast.
            version: Version that made the forecast.
            error: Mean absolute error in standard deviations.
            skill: (error - persistence) / (error + persistence).
            time: Event time of the end of the forecast's interval.
            detectors: Which detectors run.
        """
        if not self._follows(epoch, version):
            return []
        self._follow(detectors)
        findings = []
        for signal, value in zip(_LOSSES, (error, skill), strict=True):
            for detector, memory in self._tests.get(signal) or self._begin(signal, 1):
                alarm = detector.take(memory, value, time)
                if alarm is not None:
                    findings.append(Finding(signal, None, detector.name, alarm))
        return findings

    def state(self) -> MonitorState:
        """Return a snapshot."""
        live = {
            key_of(signal, detector.spec): memory.state()
            for signal, tests in self._tests.items()
            for detector, memory in tests
        }
        memories = dict(sorted({**self._kept, **live}.items()))
        return MonitorState(self._epoch, self._reference, memories)

    def _follows(self, epoch: int, version: int) -> bool:
        """Switch to a newer epoch; returns False for late outcomes of an older one."""
        if epoch > self._epoch:
            self._epoch = epoch
            for signal in _LOSSES:
                self._tests.pop(signal, None)
            self._kept = {
                key: state for key, state in self._kept.items() if key.startswith("input ")
            }
        return epoch == self._epoch and version != PERSISTENCE

    def input_tests(self, sensors: int, detectors: Detectors) -> tuple[Memory, ...]:
        """Return the tests on inputs, to be updated in place.

        Args:
            sensors: Number of sensors of the model. Tests on another number of sensors are reset.
            detectors: Which detectors run.

        Returns:
            Memory of each detector of inputs, in order; empty while there is no reference.
        """
        if self._reference == PERSISTENCE:
            return ()
        self._follow(detectors)
        if self._sensors != sensors:
            self._sensors = sensors
            self._tests.pop("input", None)
        tests = self._tests.get("input") or self._begin("input", sensors)
        return tuple(memory for _, memory in tests)

    def _follow(self, detectors: Detectors) -> None:
        """Continue with these detectors; drops the memory of all others."""
        if detectors is self._detectors:
            return
        self._kept = {
            key: state for key, state in self.state().memories.items() if key in detectors.keys
        }
        self._tests.clear()
        self._detectors = detectors

    def _begin(self, signal: TestedSignal, series: int) -> _Tests:
        """Start the tests of a signal, in their initial state or from a snapshot."""
        running = self._detectors.of(signal) if self._detectors is not None else ()
        tests = tuple(
            (detector, self._memory(key_of(signal, detector.spec), detector, series))
            for detector in running
        )
        self._tests[signal] = tests
        return tests

    def _memory(self, key: str, detector: Detector[Any], series: int) -> Memory:
        state = self._kept.pop(key, None)
        memory: Memory = (
            detector.fresh(series) if state is None else detector.restore(state, series)
        )
        return memory


def watch_inputs(
    monitors: Sequence[AssetMonitor],
    assets: NDArray[np.int64],
    means: Floats,
    times: NDArray[np.int64],
    sensors: tuple[str, ...],
    detectors: Detectors,
) -> list[tuple[int, Finding]]:
    """Process the windows of a batch, all of one model.

    Args:
        monitors: Monitors of the assets, without repeats; updated in place.
        assets: Index of each window's asset in `monitors`, int64 (windows,). An asset's windows are
            processed in the order of the rows.
        means: Mean per sensor, in the units of the asset's reference version, float64
            (windows, sensors); NaN where the sensor is absent. Rows of an asset without a reference
            version are skipped.
        times: Event time of each window's end, milliseconds, int64 (windows,).
        sensors: Names of the sensors.
        detectors: Which detectors run.

    Returns:
        Row and finding of each alarm, by row, then sensor, in the order of the detectors.
    """
    states = [monitor.input_tests(len(sensors), detectors) for monitor in monitors]
    if not all(states):
        is_tested = np.array([bool(tests) for tests in states])
        rows = np.flatnonzero(is_tested[assets])
        assets, means, times = assets[rows], means[rows], times[rows]
        assets = (np.cumsum(is_tested) - 1)[assets]
        states = [tests for tests in states if tests]
    else:
        rows = np.arange(len(assets))
    if not rows.size:
        return []
    laid = pack_series(means, times, assets, len(states))
    found: list[tuple[int, int, str, Alarm]] = []
    for detector, memories in zip(detectors.input, zip(*states, strict=True), strict=True):
        for place, lane, alarm in detector.take_all(memories, laid):
            found.append((int(laid.rows[place]), lane % len(sensors), detector.name, alarm))
    found.sort(key=lambda one: one[:2])
    return [
        (int(rows[row]), Finding("input", sensors[sensor], name, alarm))
        for row, sensor, name, alarm in found
    ]
