"""One asset's detectors: a test per sensor on inputs, one on error, one on skill.

The tests belong to the serving epoch: another version has other units and another normal
error, so a swap starts them afresh. Version 0, persistence, has learned nothing to
compare with, so nothing is tested while it serves.
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
        epoch: Serving epoch that the tests belong to.
        tests: State of each test, by signal and sensor (``input/T-1``, ``error``).
    """

    epoch: int = 0
    tests: dict[str, PageHinkleyState] = {}


class AssetMonitor:
    """An asset's tests. Time is event time in milliseconds."""

    def __init__(self, state: MonitorState | None = None) -> None:
        """Start afresh, or where a snapshot left off."""
        state = state or MonitorState()
        self._epoch = state.epoch
        self._tests = {
            name: PageHinkley(SETTINGS[_signal(name)], kept) for name, kept in state.tests.items()
        }

    def inputs(
        self,
        epoch: int,
        version: int,
        sensors: Sequence[str],
        means: Sequence[float | None],
        time: int,
    ) -> list[Finding]:
        """Take a window's mean per sensor.

        Args:
            epoch: Serving epoch of the window's stamp.
            version: Version in whose units the means are.
            sensors: Sensor names.
            means: Mean of each normalised sensor; None where it is absent.
            time: Event time of the window's end.
        """
        if not self._follows(epoch, version):
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
        return MonitorState(self._epoch, {name: t.state() for name, t in self._tests.items()})

    def _follows(self, epoch: int, version: int) -> bool:
        """Move on to a newer epoch; late outcomes of an older one are not judged."""
        if epoch > self._epoch:
            self._epoch = epoch
            self._tests.clear()
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
