"""The port of drift detectors: interface of our tests over many series and river's over one.

A *series* is one signal of one asset: a sensor's mean per window, the model's error, or its skill.
A detector tests many series at once. Its state for an asset's series is a `Memory`, which is
converted to bytes for a snapshot and back. See docs/ports/detectors.md for how to write your own.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Generic, Protocol, TypeVar

from millrace.drift.detectors.alarm import Alarm, Found
from millrace.drift.detectors.series import RaggedSeries


class Memory(Protocol):
    """State of a detector for the series of one asset."""

    def state(self) -> bytes:
        """Return a snapshot: plain numbers, without code."""


M = TypeVar("M", bound=Memory)


class Detector(ABC, Generic[M]):
    """A drift test with its settings; stateless, and shared by all assets.

    Guarantee: alarms and snapshots depend only on the values of each series and their order, not on
        how they are cut into calls, on other series, or on a restart between two values. After an
        alarm the test of that series is reset.

    Attributes:
        name: Its name in alerts.
        spec: Name and settings, for example ``KSWIN(alpha=0.001, seed=0)``. It is the key of a
            snapshot, so that a detector with other settings never restores it.
    """

    name: str
    spec: str

    @abstractmethod
    def fresh(self, series: int) -> M:
        """Create the initial memory of a number of series."""

    @abstractmethod
    def restore(self, state: bytes, series: int) -> M:
        """Restore a snapshot; one of another number of series gives initial memory."""

    @abstractmethod
    def take(self, memory: M, value: float, time: int, series: int = 0) -> Alarm | None:
        """Process the next value of one series.

        Args:
            memory: The memory, updated in place.
            value: The value; skipped if it is not finite, and clipped to `alarm.LIMIT`.
            time: Its event time, milliseconds UTC.
            series: Index of the series in the memory.
        """

    def take_all(self, memories: Sequence[M], laid: RaggedSeries) -> list[Found]:
        """Process the next values of many assets with the same number of series.

        Args:
            memories: Memory of each asset, updated in place.
            laid: Their values: one lane per series, grouped by asset.

        Returns:
            The alarms, in no particular order; series are numbered through all memories.
        """
        each = len(laid.start) // len(memories)
        found = []
        for lane, (start, count) in enumerate(zip(laid.start, laid.count, strict=True)):
            asset, series = divmod(lane, each)
            for place in range(int(start), int(start + count)):
                value, time = float(laid.values[place]), int(laid.times[place])
                alarm = self.take(memories[asset], value, time, series)
                if alarm is not None:
                    found.append((place, lane, alarm))
        return found


def spec_of(name: str, settings: dict[str, object]) -> str:
    """Format a name with its settings, sorted by name.

    >>> spec_of("KSWIN", {"seed": 0, "alpha": 0.001})
    'KSWIN(alpha=0.001, seed=0)'
    """
    return f"{name}({', '.join(f'{key}={value!r}' for key, value in sorted(settings.items()))})"
