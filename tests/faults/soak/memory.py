"""Memory of every process during a soak: sampled, and judged life by life."""

from __future__ import annotations

import threading
import time
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import Final

import msgspec
import numpy as np
import psutil

EVERY_SECONDS: Final = 10.0
_MIB: Final = 1 << 20
#: A life's start, which is left out of its slope, seconds: modules and models are loaded then.
WARM_UP_SECONDS: Final = 120.0
#: Shortest life that is judged, seconds.
JUDGED_SECONDS: Final = 1200.0
#: How much the last quarter may be above the second one: a share, and MiB.
GROWTH: Final = (1.2, 32.0)

#: Seconds since the soak began, and bytes.
Sample = tuple[float, int]


class MemoryLine(msgspec.Struct, frozen=True):
    """Resident memory of one process, from start to end.

    Attributes:
        name: The program.
        pid: The process.
        seconds: How long it was sampled.
        first_mib: At its first sample.
        last_mib: At its last sample.
        most_mib: At most.
        slope_mib_per_hour: Of a straight line through the samples after its start; None where
            there are fewer than three.
        grows: Whether it lived long enough to be judged, and did not stay flat.
    """

    name: str
    pid: int
    seconds: float
    first_mib: float
    last_mib: float
    most_mib: float
    slope_mib_per_hour: float | None
    grows: bool


def memory_line(name: str, pid: int, samples: Sequence[Sample]) -> MemoryLine:
    """Sum a life up; there is at least one sample.

    >>> memory_line("a", 1, [(10.0 * n, (100 << 20) + n * (1 << 20)) for n in range(361)]).grows
    True
    >>> memory_line("a", 1, [(10.0 * n, 100 << 20) for n in range(361)]).slope_mib_per_hour
    0.0
    """
    moments = np.array([moment for moment, _ in samples])
    mib = np.array([size for _, size in samples]) / _MIB
    lasted = float(moments[-1] - moments[0])
    warm = moments - moments[0] >= WARM_UP_SECONDS
    slope = None
    if warm.sum() > 2:
        slope = round(float(np.polyfit(moments[warm], mib[warm], 1)[0]) * 3600.0, 2) + 0.0
    quarters = np.array_split(mib, 4)
    share, more = GROWTH
    grows = lasted >= JUDGED_SECONDS and bool(
        np.median(quarters[3]) > share * np.median(quarters[1]) + more
    )
    first, last, most = (round(float(x), 1) for x in (mib[0], mib[-1], mib.max()))
    return MemoryLine(name, pid, round(lasted, 1), first, last, most, slope, grows)


class MemorySampler:
    """Samples on a thread of its own until it is closed."""

    def __init__(self, processes: Callable[[], Mapping[str, int | None]]) -> None:
        """Start.

        Args:
            processes: Tells the present process of every program.
        """
        self._processes = processes
        self._samples: dict[tuple[str, int], list[Sample]] = defaultdict(list)
        self._began = time.monotonic()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="memory", daemon=True)
        self._thread.start()

    def lines(self) -> list[MemoryLine]:
        """Every life so far, program by program."""
        return [
            memory_line(name, pid, list(samples))
            for (name, pid), samples in sorted(self._samples.copy().items())
        ]

    def close(self) -> None:
        """Stop."""
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        while True:
            for name, pid in self._processes().items():
                if pid is None:
                    continue
                with suppress(psutil.NoSuchProcess):  # it has just ended: so do its samples
                    size = psutil.Process(pid).memory_info().rss
                    self._samples[name, pid].append((time.monotonic() - self._began, size))
            if self._stop.wait(EVERY_SECONDS):
                return
