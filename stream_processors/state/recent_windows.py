"""The latest windows of an asset, so that one which is sent twice is taken once.

A window is the same measurement as another one if asset, sensor set, segment and start are the
same. If its readings are the same as well it is a repetition; if they are others, one of the two
is wrong, and the one that was taken first counts.

>>> windows = RecentWindows()
>>> windows.see(0, "run-1", 17), windows.see(0, "run-2", 17), windows.see(0, "run-1", 17)
(<Sight.NEW: 'new'>, <Sight.NEW: 'new'>, <Sight.REPEATED: 'repeated'>)
>>> windows.see(0, "run-1", 18)
<Sight.CHANGED: 'changed'>
"""

from __future__ import annotations

import bisect
from array import array
from enum import Enum
from typing import Final

import google_crc32c
import msgspec

#: Windows that are remembered; 16 bytes each.
RECENT: Final = 256
#: The checksum of readings that were not kept, as in snapshots of older versions.
UNKNOWN: Final = 0


class Sight(Enum):
    """Whether a window was seen before."""

    NEW = "new"
    REPEATED = "repeated"
    CHANGED = "changed"


class RecentSnapshot(msgspec.Struct, frozen=True):
    """The windows as plain values, in ascending order of start.

    Attributes:
        starts: int64, milliseconds UTC.
        segments: uint32, checksums of the segments' names.
        readings: uint32, checksums of the readings.
    """

    starts: bytes
    segments: bytes
    readings: bytes


class RecentWindows:
    """Starts, segments and readings of the latest windows."""

    __slots__ = ("_readings", "_segments", "_starts")

    def __init__(self) -> None:
        """Start with none."""
        self._starts = array("q")
        self._segments = array("I")
        self._readings = array("I")

    def see(self, start_ms: int, segment: str, readings: int) -> Sight:
        """Look whether a window was seen lately, and remember it if not.

        Args:
            start_ms: Event time of its first sample.
            segment: Its segment.
            readings: `checksum` of its readings.
        """
        starts = self._starts
        name = checksum(segment.encode()) if segment else UNKNOWN
        place = len(starts)
        if starts and start_ms <= starts[-1]:
            place = bisect.bisect_left(starts, start_ms)
            while place < len(starts) and starts[place] == start_ms:
                if self._segments[place] == name:
                    same = self._readings[place] in {readings, UNKNOWN}
                    return Sight.REPEATED if same else Sight.CHANGED
                place += 1
        starts.insert(place, start_ms)
        self._segments.insert(place, name)
        self._readings.insert(place, readings)
        if len(starts) > RECENT:
            del starts[0], self._segments[0], self._readings[0]
        return Sight.NEW

    def snapshot(self) -> RecentSnapshot:
        """Take the windows as plain values."""
        return RecentSnapshot(
            self._starts.tobytes(), self._segments.tobytes(), self._readings.tobytes()
        )

    @staticmethod
    def restore(kept: RecentSnapshot) -> RecentWindows:
        """Take the windows back."""
        windows = RecentWindows()
        windows._starts.frombytes(kept.starts)
        none = bytes(len(windows._starts) * windows._segments.itemsize)
        windows._segments.frombytes(kept.segments or none)
        windows._readings.frombytes(kept.readings or none)
        return windows


def checksum(data: bytes) -> int:
    """CRC-32C of readings or a name; never `UNKNOWN`."""
    found: int = google_crc32c.value(data)
    return found or 1
