"""The stream processor's state of an asset, its *memory*, and its snapshot.

The memory stores which source offsets it includes, so redelivered records have no second effect on
it: replaying from an older snapshot gives the same memory.
"""

from __future__ import annotations

from hashlib import blake2b

import msgspec

from millrace.drift.monitor import AssetMonitor, MonitorState
from millrace.stream_processors.outcomes.forecasts import ForecastBook
from millrace.stream_processors.state.recent_windows import RecentSnapshot, RecentWindows


class AssetSnapshot(msgspec.Struct):
    """An asset's memory as plain values.

    Attributes:
        windows_through: Last offset of `sensor.windows` that it includes.
        predictions_through: Last offset of `predictions` that it includes.
        recent_starts: Starts of the latest windows, see `RecentSnapshot`.
        forecasts: Open forecasts.
        monitor: Detectors.
        recent_segments: Segments of the latest windows; none in older snapshots.
        recent_readings: Checksums of their readings; none in older snapshots.
    """

    windows_through: int
    predictions_through: int
    recent_starts: bytes
    forecasts: ForecastBook
    monitor: MonitorState
    recent_segments: bytes = b""
    recent_readings: bytes = b""


_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(AssetSnapshot).decode


class Asset:
    """An asset's memory as live objects."""

    __slots__ = (
        "forecasts",
        "monitor",
        "predictions_through",
        "recent",
        "windows_through",
    )

    def __init__(self) -> None:
        """Start with nothing."""
        self.windows_through = -1
        self.predictions_through = -1
        self.forecasts = ForecastBook()
        self.monitor = AssetMonitor()
        self.recent = RecentWindows()

    def snapshot(self, *, with_tests: bool = True) -> bytes:
        """Encode the memory.

        Args:
            with_tests: Whether to include the state of the detectors.
        """
        recent = self.recent.snapshot()
        monitor = self.monitor.state()
        return _encode(
            AssetSnapshot(
                self.windows_through,
                self.predictions_through,
                recent.starts,
                self.forecasts,
                monitor if with_tests else monitor.without_tests(),
                recent.segments,
                recent.readings,
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
        asset.recent = RecentWindows.restore(
            RecentSnapshot(kept.recent_starts, kept.recent_segments, kept.recent_readings)
        )
        return asset


def state_digest(snapshot: bytes) -> str:
    """Digest of a memory's content.

    It excludes offsets of `predictions`, which depend on earlier aborted transactions, and the
    timestamps of records.
    """
    kept = _decode(snapshot)
    kept.forecasts.forget_clock()
    kept.predictions_through = -1
    return blake2b(_encode(kept), digest_size=16).hexdigest()
