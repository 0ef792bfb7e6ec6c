"""What the stream processor remembers of an asset, and its snapshot.

The memory says which source offsets it includes, so records that are delivered again after
a crash have no second effect on it: replaying from an older snapshot gives the same memory.
"""

from __future__ import annotations

import bisect
from array import array
from hashlib import blake2b
from typing import Final

import msgspec

from drift.monitor import AssetMonitor, MonitorState
from stream_processors.forecasts import ForecastBook

#: Window starts that are remembered to recognise a window that was sent twice.
RECENT_STARTS: Final = 256


class AssetSnapshot(msgspec.Struct):
    """An asset's memory as plain values.

    Attributes:
        windows_through: Last offset of `sensor.windows` that it includes.
        predictions_through: Last offset of `predictions` that it includes.
        recent_starts: Starts of the latest windows, int64, ascending, milliseconds UTC.
        forecasts: Open forecasts.
        monitor: Detectors.
    """

    windows_through: int
    predictions_through: int
    recent_starts: bytes
    forecasts: ForecastBook
    monitor: MonitorState


_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(AssetSnapshot).decode


class Asset:
    """An asset's memory, live."""

    __slots__ = (
        "_recent_starts",
        "forecasts",
        "monitor",
        "predictions_through",
        "windows_through",
    )

    def __init__(self) -> None:
        """Start with nothing."""
        self.windows_through = -1
        self.predictions_through = -1
        self.forecasts = ForecastBook()
        self.monitor = AssetMonitor()
        self._recent_starts = array("q")

    def remember(self, start_ms: int) -> bool:
        """Remember a window's start.

        Returns:
            Whether it is new: no window with this start was seen lately.
        """
        starts = self._recent_starts
        if not starts or start_ms > starts[-1]:
            starts.append(start_ms)
        else:
            place = bisect.bisect_left(starts, start_ms)
            if starts[place] == start_ms:
                return False
            starts.insert(place, start_ms)
        if len(starts) > RECENT_STARTS:
            del starts[0]
        return True

    def snapshot(self) -> bytes:
        """Encode the memory."""
        return _encode(
            AssetSnapshot(
                self.windows_through,
                self.predictions_through,
                self._recent_starts.tobytes(),
                self.forecasts,
                self.monitor.state(),
            )
        )

    @staticmethod
    def restore(data: bytes) -> Asset:
        """Decode a memory."""
        kept = _decode(data)
        asset = Asset()
        asset.windows_through = kept.windows_through
        asset.predictions_through = kept.predictions_through
        asset.forecasts = kept.forecasts
        asset.monitor = AssetMonitor(kept.monitor)
        asset._recent_starts = array("q", kept.recent_starts)
        return asset


def state_digest(snapshot: bytes) -> str:
    """Digest of what a memory knows.

    Offsets of `predictions` are left out: where a prediction lies depends on aborted
    transactions before it. So are the timestamps of records.
    """
    kept = _decode(snapshot)
    kept.forecasts.forget_clock()
    kept.predictions_through = -1
    return blake2b(_encode(kept), digest_size=16).hexdigest()
