"""This machine's own sensors."""

import threading

import numpy as np
import pytest

from millrace.producers.sources.host import SENSORS, HostSensors, HostSource


def test_a_reading_has_every_sensor() -> None:
    """Load and memory are there on any machine; none is infinite."""
    reading = HostSensors().read(1.0)
    assert reading.shape == (len(SENSORS),)
    assert not np.isinf(reading).any()
    assert 0 < reading[SENSORS.index("memory_percent")] <= 100
    assert reading[SENSORS.index("load_1min")] >= 0


class Waits(threading.Event):
    """An event that is set after some waits, each of which moves the clock."""

    def __init__(self, clock: list[float], most: int) -> None:
        super().__init__()
        self._clock, self._left = clock, most

    def wait(self, timeout: float | None = None) -> bool:
        """Move the clock."""
        self._clock[0] += timeout or 0.0
        self._left -= 1
        return self._left < 0


def test_readings_lie_on_the_grid(monkeypatch: pytest.MonkeyPatch) -> None:
    """With a clock that only waiting moves, each slot of the period has one reading."""
    clock = [1_000.25]
    monkeypatch.setattr("millrace.producers.sources.host.time.time", lambda: clock[0])
    monkeypatch.setattr("millrace.producers.sources.host.time.monotonic", lambda: clock[0])
    source = HostSource("me", 0.5)
    found = list(source.readings(Waits(clock, 20)))
    assert [reading.time_ms for reading in found] == [1_000_500 + i * 500 for i in range(20)]
    assert {reading.asset for reading in found} == {"me"}
    assert {reading.values.shape for reading in found} == {(len(source.spec.sensors),)}


def test_a_machine_that_was_held_up_has_a_gap(monkeypatch: pytest.MonkeyPatch) -> None:
    """Slots that have passed are missed, and the grid stays."""
    clock = [1_000.25]
    monkeypatch.setattr("millrace.producers.sources.host.time.time", lambda: clock[0])
    monkeypatch.setattr("millrace.producers.sources.host.time.monotonic", lambda: clock[0])
    times = []
    for reading in HostSource("me", 0.5).readings(Waits(clock, 4)):
        times.append(reading.time_ms)
        clock[0] += 1.2 if len(times) == 2 else 0.0
    assert times == [1_000_500, 1_001_000, 1_002_000, 1_002_500]
