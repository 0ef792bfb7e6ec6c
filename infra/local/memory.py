"""Samples the memory of every process of a system, and keeps each program's peak.

It measures proportional set size where the system reports it (Linux), so that pages shared
between processes count once; resident set size elsewhere. A program's children (Java, the fit,
the replay) are found again at each sample; forked ones are counted separately, as
``<program> child``.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from typing import Final

import psutil

SAMPLE_SECONDS: Final = 0.5
_MIB: Final = float(1 << 20)
#: Ancestors of a process that are searched for its program, at most.
_DEEPEST: Final = 16

Roots = Callable[[], Mapping[str, int]]


class MemorySampler:
    """Samples on a thread of its own between `start` and `stop`.

    Args:
        roots: Returns the programs that run now: process id by name.
    """

    def __init__(self, roots: Roots) -> None:
        self._roots = roots
        self._peaks: dict[str, float] = {}
        self._total = 0.0
        self._measures: set[str] = set()
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._run, name="memory", daemon=True)

    def start(self) -> None:
        """Start sampling."""
        self._thread.start()

    def stop(self) -> None:
        """Stop, and wait for the last sample."""
        self._done.set()
        self._thread.join()

    @property
    def peaks_mib(self) -> dict[str, float]:
        """Peak of each program, MiB."""
        return {name: round(value, 1) for name, value in sorted(self._peaks.items())}

    @property
    def total_peak_mib(self) -> float:
        """Peak of the sum over all of them at one time, MiB."""
        return round(self._total, 1)

    @property
    def measure(self) -> str:
        """The measure: ``pss``, ``rss``, or both if the system reported ``pss`` for some only."""
        return "+".join(sorted(self._measures)) or "none"

    def sample(self) -> None:
        """Take one sample."""
        found: dict[str, float] = {}
        for label, process in _families(self._roots()):
            found[label] = found.get(label, 0.0) + self._size(process)
        for name, size in found.items():
            self._peaks[name] = max(size, self._peaks.get(name, 0.0))
        self._total = max(self._total, sum(found.values()))

    def _run(self) -> None:
        while not self._done.wait(SAMPLE_SECONDS):
            self.sample()

    def _size(self, process: psutil.Process) -> float:
        """Memory of a process, MiB; 0 if it has just ended."""
        try:
            full = process.memory_full_info()
            measure = "pss" if hasattr(full, "pss") else "rss"
            self._measures.add(measure)
            return float(getattr(full, measure)) / _MIB
        except psutil.AccessDenied:
            self._measures.add("rss")
            return _resident(process)
        except psutil.Error:
            return 0.0


def _resident(process: psutil.Process) -> float:
    try:
        return float(process.memory_info().rss) / _MIB
    except psutil.Error:
        return 0.0


def _families(roots: Mapping[str, int]) -> list[tuple[str, psutil.Process]]:
    """Every program and its descendants, each under its nearest program's name."""
    processes = {process.pid: process for process in psutil.process_iter(["ppid"])}
    names = {pid: name for name, pid in roots.items()}
    found: list[tuple[str, psutil.Process]] = []
    for pid, process in processes.items():
        ancestor, distance = pid, 0
        while ancestor in processes and ancestor not in names and distance < _DEEPEST:
            ancestor = processes[ancestor].info["ppid"] or 0
            distance += 1
        if ancestor in names:
            name = names[ancestor]
            found.append((f"{name} child" if distance else name, process))
    return found
