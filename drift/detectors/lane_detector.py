"""A detector whose tests are rows of one array: many series are tested by one NumPy call."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

import numpy as np

from millrace.drift.detectors.alarm import Alarm, Found
from millrace.drift.detectors.base import Detector
from millrace.drift.detectors.series import Floats, RaggedSeries, pack_series

#: Number format in a snapshot.
_KEPT: Final = np.dtype("<f8")


class LaneMemory:
    """State of an asset's series, float64 (series, fields)."""

    __slots__ = ("numbers",)

    def __init__(self, numbers: Floats) -> None:
        """Store the numbers."""
        self.numbers = numbers

    def state(self) -> bytes:
        """Return a snapshot: the numbers, little-endian float64, row by row."""
        return self.numbers.astype(_KEPT, copy=False).tobytes()


class LaneDetector(Detector[LaneMemory]):
    """A test over lanes; a single value costs about as much as a hundred."""

    def __init__(
        self,
        name: str,
        spec: str,
        fresh: Callable[[int], Floats],
        update: Callable[[Floats, RaggedSeries], list[Found]],
    ) -> None:
        """Store the test's functions.

        Args:
            name: Its name in alerts.
            spec: Name and settings.
            fresh: Creates the initial state of lanes.
            update: Processes the next values of lanes, and updates their state in place.
        """
        self.name = name
        self.spec = spec
        self._fresh = fresh
        self._update = update

    def fresh(self, series: int) -> LaneMemory:
        """Create the initial memory of series."""
        return LaneMemory(self._fresh(series))

    def restore(self, state: bytes, series: int) -> LaneMemory:
        """Restore a snapshot; one of another number of series gives initial memory."""
        memory = self.fresh(series)
        if len(state) == memory.numbers.size * _KEPT.itemsize:
            memory.numbers[...] = np.frombuffer(state, _KEPT).reshape(memory.numbers.shape)
        return memory

    def take(self, memory: LaneMemory, value: float, time: int, series: int = 0) -> Alarm | None:
        """Process the next value of one series."""
        lane = memory.numbers[series : series + 1]
        found = self._update(lane, pack_series(np.array([[value]]), np.array([time])))
        return found[0][2] if found else None

    def take_all(self, memories: Sequence[LaneMemory], laid: RaggedSeries) -> list[Found]:
        """Process the next values of many assets in one call."""
        arrays = [memory.numbers for memory in memories]
        lanes = np.concatenate(arrays)
        found = self._update(lanes, laid)
        parts = lanes.reshape(len(arrays), *arrays[0].shape)
        for array, part in zip(arrays, parts, strict=True):
            array[...] = part
        return found
