"""The port of drift detectors: what every test is, ours over many series and river's over one.

A *series* is one signal of one asset: a sensor's mean per window, the model's error, or its skill.
A detector tests many series at once. What it remembers of an asset's series is a `Memory`, which
turns into bytes for a snapshot and back. See docs/ports/detectors.md for how to write your own.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Generic, Protocol, TypeVar

from millrace.drift.detectors.alarm import Alarm, Found
from millrace.drift.detectors.series import RaggedSeries


class Memory(Protocol):
    """What a detector remembers of the series of one asset."""

    def state(self) -> bytes:
        """Take a snapshot: plain numbers, and no code."""


M = TypeVar("M", bound=Memory)


class Detector(ABC, Generic[M]):
    """A drift test with its settings; it has no memory itself, and is shared by all assets.

    Guarantee: alarms and snapshots depend on the values of each series and their order alone, not
    on how they are cut into calls, on other series, or on a restart between two values. After an
    alarm the test of that series starts afresh.

    Attributes:
        name: What alerts call it.
        spec: Name and settings, for example ``KSWIN(alpha=0.001, seed=0)``. A snapshot is kept
            under it, so that other settings never take over a memory that is not theirs.
    """

    name: str
    spec: str

    @abstractmethod
    def fresh(self, series: int) -> M:
        """Make the memory of so many series that have seen nothing."""

    @abstractmethod
    def restore(self, state: bytes, series: int) -> M:
        """Take a snapshot back; one of another number of series starts afresh."""

    @abstractmethod
    def take(self, memory: M, value: float, time: int, series: int = 0) -> Alarm | None:
        """Take the next value of one series.

        Args:
            memory: The memory, brought up to date in place.
            value: The value; one that is not finite is passed over, and it is held within
                `alarm.LIMIT`.
            time: Its event time, milliseconds UTC.
            series: Which series of the memory.
        """

    def take_all(self, memories: Sequence[M], laid: RaggedSeries) -> list[Found]:
        """Take the next values of many assets, each with as many series.

        Args:
            memories: Memory of each asset, brought up to date in place.
            laid: Their values: one lane per series, asset by asset.

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
    """Write a name with its settings, in the order of their names.

    >>> spec_of("KSWIN", {"seed": 0, "alpha": 0.001})
    'KSWIN(alpha=0.001, seed=0)'
    """
    return f"{name}({', '.join(f'{key}={value!r}' for key, value in sorted(settings.items()))})"
