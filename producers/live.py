"""Windows of a live source, which is read on a thread of its own.

    source's thread: readings ─► LiveWindows per asset ─► queue ─► send loop's thread

The queue is bounded: a source that is faster than delivery blocks, and then it depends on the
device whether readings are lost. A source that fails ends the run with its error, after the windows
that it completed before.
"""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Generator
from typing import Final

import structlog

from millrace.contracts.errors import DataError, MillraceError
from millrace.contracts.events.window import SensorWindow
from millrace.contracts.model_spec import ModelSpec
from millrace.contracts.names import name_problem, segment_problem
from millrace.producers.sources.source import Reading, Source
from millrace.producers.windows import LiveWindows

_log = structlog.get_logger(__name__)
#: Capacity of the queue to the send loop, windows.
MOST_WAITING: Final = 1000
#: How long a source may take to end after the stop event, seconds.
END_SECONDS: Final = 5.0
#: Interval at which a source that is blocked on a full queue checks the stop event, seconds.
_ROOM_SECONDS: Final = 0.1


def live_windows(source: Source, ended: Callable[[], bool]) -> Generator[SensorWindow | None]:
    """Yield a source's windows as they are completed; None whenever there is none yet.

    Args:
        source: The source; its thread starts with the first call of ``next``.
        ended: Returns whether to stop; windows that are completed until then are still yielded.

    Raises:
        DataError: A reading does not match the source's own spec.
        MillraceError: The source failed.
    """
    reader = _Reader(source)
    reader.start()
    try:
        while not (ended() or reader.done):
            yield reader.next()
        reader.stop()
        ends = time.monotonic() + END_SECONDS
        while not reader.done:
            if time.monotonic() >= ends:
                raise MillraceError(
                    f"{source.title} did not end within {END_SECONDS:g} s; it must wait with"
                    " `stop.wait`, and end when that is set"
                )
            window = reader.next()
            if window is not None:  # the source made progress: restart its time limit
                ends = time.monotonic() + END_SECONDS
            yield window
        while (window := reader.next()) is not None:
            yield window
        reader.check()
    finally:
        reader.abandon()


class _Reader:
    """The thread that reads a source."""

    def __init__(self, source: Source) -> None:
        self._source = source
        self._stop = threading.Event()
        self._abandoned = threading.Event()
        self._windows: queue.Queue[SensorWindow] = queue.Queue(MOST_WAITING)
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name="source", daemon=True)

    @property
    def done(self) -> bool:
        """Whether the source has ended, or failed."""
        return not self._thread.is_alive()

    def start(self) -> None:
        """Start reading."""
        self._thread.start()

    def next(self) -> SensorWindow | None:
        """Take the oldest window, if any."""
        try:
            return self._windows.get_nowait()
        except queue.Empty:
            return None

    def stop(self) -> None:
        """Set the source's stop event."""
        self._stop.set()

    def abandon(self) -> None:
        """End, and log how many windows in the queue are discarded."""
        self._abandoned.set()
        self._stop.set()
        if left := self._windows.qsize():
            _log.warning("windows of a live source are not sent", windows=left)

    def check(self) -> None:
        """Raise the source's error, if it failed."""
        if self._error is not None:
            raise self._error

    def _run(self) -> None:
        spec = self._source.spec
        assets: dict[str, LiveWindows] = {}
        try:
            for reading in self._source.readings(self._stop):
                live = assets.get(reading.asset)
                if live is None:
                    _check_name(reading.asset, self._source)
                    live = assets[reading.asset] = LiveWindows(reading.asset, spec)
                _check(reading, spec, self._source)
                window = live.add(reading.time_ms, reading.values, reading.segment)
                if window is not None and not self._put(window):
                    return
        except BaseException as error:  # noqa: BLE001  (raised again by `check`, on the loop's thread)
            self._error = error

    def _put(self, window: SensorWindow) -> bool:
        """Enqueue a window; blocks while the queue is full. False if the reader was abandoned."""
        while not self._abandoned.is_set():
            try:
                self._windows.put(window, timeout=_ROOM_SECONDS)
            except queue.Full:
                continue
            return True
        return False


def _check_name(asset: str, source: Source) -> None:
    if (problem := name_problem(asset)) is not None:
        raise DataError(f"{source.title}: the asset name {asset[:40]!r} {problem}")


def _check(reading: Reading, spec: ModelSpec, source: Source) -> None:
    """Check that a reading matches its spec."""
    if len(reading.values) != len(spec.sensors):
        raise DataError(
            f"{source.title}: a reading of {reading.asset} has {len(reading.values)} values;"
            f" {spec.name} has {len(spec.sensors)} sensors"
        )
    if reading.segment and (problem := segment_problem(reading.segment)) is not None:
        raise DataError(f"{source.title}: the segment name {reading.segment[:40]!r} {problem}")
