"""This machine's own sensors, read with psutil: a live asset that needs no device."""

import sys
import threading
import time
from collections.abc import Iterator
from typing import Final

import numpy as np
import numpy.typing as npt
import psutil

from millrace.contracts.model_spec import ModelSpec
from millrace.producers.sources.source import Reading

SENSORS: Final = (
    "cpu_percent",
    "load_1min",
    "memory_percent",
    "disk_mib_per_s",
    "network_mib_per_s",
    "cpu_celsius",
)
MIB: Final = 1 << 20


def host_spec(period_seconds: float = 1.0) -> ModelSpec:
    """Describe the model of machines like this one.

    Args:
        period_seconds: Time between readings.
    """
    return ModelSpec("host", SENSORS, period_seconds, window=32, horizon=8, stride=4)


class HostSensors:
    """Reads this machine's sensors; rates are averages since the previous reading."""

    def __init__(self) -> None:
        """Read the initial values of the counters."""
        self._before = _counters()
        psutil.cpu_percent()

    def read(self, seconds: float) -> npt.NDArray[np.float64]:
        """Read all sensors.

        Args:
            seconds: Time since the previous reading.

        Returns:
            float64, one value per name in `SENSORS`; NaN where the machine has no such
            sensor (most virtual ones have no thermometer).
        """
        disk, network = _counters()
        rates = (disk - self._before[0], network - self._before[1])
        self._before = (disk, network)
        return np.array(
            [
                psutil.cpu_percent(),
                psutil.getloadavg()[0],
                psutil.virtual_memory().percent,
                *(change / MIB / seconds if seconds > 0 else np.nan for change in rates),
                _celsius(),
            ]
        )


class HostSource:
    """This machine, live: a reading in each slot of the period.

    Slots are multiples of the period since 1970, so that a restart leaves a gap and not a shift. A
    machine that was suspended or overloaded misses slots, which leaves a gap, too.
    """

    def __init__(self, asset: str, period_seconds: float = 1.0) -> None:
        """Create the source.

        Args:
            asset: Name of this machine.
            period_seconds: Time between readings.
        """
        self.spec: Final = host_spec(period_seconds)
        self.name: Final = f"host-{asset}"
        self.title: Final = f"the machine {asset}"
        self._asset = asset

    def readings(self, stop: threading.Event) -> Iterator[Reading]:
        """Measure until ``stop`` is set."""
        sensors, spec = HostSensors(), self.spec
        before = time.monotonic()
        slot = _slot(spec)
        while True:
            slot = max(slot + 1, _slot(spec))
            if stop.wait(max(slot * spec.period_seconds - time.time(), 0.0)):
                return
            now = time.monotonic()
            reading = sensors.read(now - before)
            before = now
            yield Reading(self._asset, slot * spec.period_ms, reading)


def _slot(spec: ModelSpec) -> int:
    """Number of the grid's latest slot."""
    return int(time.time() / spec.period_seconds)


def _counters() -> tuple[float, float]:
    """Bytes to and from disks and networks since the machine started."""
    disk = psutil.disk_io_counters()
    networks = psutil.net_io_counters(pernic=True).values()
    return (
        float(disk.read_bytes + disk.write_bytes) if disk else np.nan,
        float(sum(nic.bytes_sent + nic.bytes_recv for nic in networks)) if networks else np.nan,
    )


def _celsius() -> float:
    """Hottest thermometer of the machine, NaN without one."""
    if sys.platform != "linux":  # psutil reads thermometers only on Linux
        return np.nan
    found = psutil.sensors_temperatures()
    return max((probe.current for probes in found.values() for probe in probes), default=np.nan)
