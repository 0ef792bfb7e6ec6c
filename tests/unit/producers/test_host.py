"""This machine's own sensors."""

import numpy as np
import pytest

from millrace.producers.sources.host import SENSORS, HostSensors, host_spec, host_windows


def test_a_reading_has_every_sensor() -> None:
    """Load and memory are there on any machine; none is infinite."""
    reading = HostSensors().read(1.0)
    assert reading.shape == (len(SENSORS),)
    assert not np.isinf(reading).any()
    assert 0 < reading[SENSORS.index("memory_percent")] <= 100
    assert reading[SENSORS.index("load_1min")] >= 0


def test_windows_come_by_themselves(monkeypatch: pytest.MonkeyPatch) -> None:
    """With a clock that only waiting moves, each stride completes a window, on the grid."""
    clock = [1_000.25]
    monkeypatch.setattr("millrace.producers.sources.host.time.time", lambda: clock[0])
    monkeypatch.setattr("millrace.producers.sources.host.time.monotonic", lambda: clock[0])
    spec = host_spec(0.5)
    readings = spec.window + 3 * spec.stride

    def wait(seconds: float) -> bool:
        clock[0] += seconds
        waited.append(seconds)
        return len(waited) <= readings

    waited: list[float] = []
    found = list(host_windows("me", spec, wait))
    assert [w.start_ms for w in found] == [1_000_500 + i * spec.stride * 500 for i in range(4)]
    assert found[0].values.shape == (spec.window, len(SENSORS))
    assert {w.sensor_set for w in found} == {spec.sensor_set}
