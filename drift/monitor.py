"""One asset's detectors: a test per sensor on inputs, one on error, one on skill.

The tests on error and skill belong to the serving epoch: another version has another normal
error, so a swap starts them afresh. The machine itself does not change with a swap, so the
tests on inputs go on, in the units of one reference version: the first trained one that the
asset met. Version 0, persistence, has learned nothing to compare with, so nothing is tested
while it is all that there is.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import msgspec

from contracts.drift_alert import Signal
from contracts.registry import PERSISTENCE
from drift.page_hinkley import Alarm, PageHinkley, PageHinkleyState
from drift.policy import SETTINGS

Loss = Literal["error", "skill"]


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
        tests: State of each test, by signal and sensor (``input/T-1``, ``error``).
    """

    epoch: int = 0
    reference: int = PERSISTENCE
    tests: dict[str, PageHinkleyState] = {}


class AssetMonitor:
    """An asset's tests. Time is event time in milliseconds."""

    def __init__(self, state: MonitorState | None = None) -> None:
        """Start afresh, or where a snapshot left off."""
        state = state or MonitorState()
        self._epoch = state.epoch
        self._reference = state.reference
        self._tests = {
            name: PageHinkley(SETTINGS[_signal(name)], kept) for name, kept in state.tests.items()
        }

    def reference(self, version: int) -> int:
        """Tell in which version's units inputs are tested.

        Args:
            version: Version that serves; the first trained one becomes the reference.

        Returns:
            The reference version; 0 while there is none, and then nothing is tested.
        """
        if self._reference == PERSISTENCE:
            self._reference = version
        return self._reference

    def inputs(
        self, sensors: Sequence[str], means: Sequence[float | None], time: int
    ) -> list[Finding]:
        """Take a window's mean per sensor.

        Args:
            sensors: Sensor names.
            means: Mean of each sensor in the units of the reference version; None where it
                is absent.
            time: Event time of the window's end.
        """
        if self._reference == PERSISTENCE:
            return []
        findings = []
        for sensor, mean in zip(sensors, means, strict=True):
            if mean is None:
                continue
            found = self._update("input", sensor, mean, time)
            if found is not None:
                findings.append(found)
        return findings

    def outcome(
        self, epoch: int, version: int, error: float, skill: float, time: int
    ) -> list[Finding]:
        """Take a forecast's error and skill.

        Args:
            epoch: Serving epoch of the forecast.
            version: Version that made the forecast.
            error: Mean absolute error in standard deviations.
            skill: (error - persistence) / (error + persistence).
            time: Event time of the end of the forecast's interval.
        """
        if not self._follows(epoch, version):
            return []
        signals: tuple[tuple[Loss, float], ...] = (("error", error), ("skill", skill))
        found = (self._update(signal, None, value, time) for signal, value in signals)
        return [finding for finding in found if finding is not None]

    def state(self) -> MonitorState:
        """Take a snapshot."""
        tests = {name: test.state() for name, test in self._tests.items()}
        return MonitorState(self._epoch, self._reference, tests)

    def _follows(self, epoch: int, version: int) -> bool:
        """Move on to a newer epoch; late outcomes of an older one are not judged."""
        if epoch > self._epoch:
            self._epoch = epoch
            self._tests.pop("error", None)
            self._tests.pop("skill", None)
        return epoch == self._epoch and version != PERSISTENCE

    def _update(
        self, signal: Signal, sensor: str | None, value: float, time: int
    ) -> Finding | None:
        name = signal if sensor is None else f"{signal}/{sensor}"
        test = self._tests.get(name)
        if test is None:
            test = self._tests[name] = PageHinkley(SETTINGS[signal])
        alarm = test.update(value, time)
        return Finding(signal, sensor, test.name, alarm) if alarm is not None else None


def _signal(name: str) -> Signal:
    """Signal of a test's name."""
    head = name.partition("/")[0]
    return "input" if head == "input" else "skill" if head == "skill" else "error"
