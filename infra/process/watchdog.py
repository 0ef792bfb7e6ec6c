"""Ends a process that runs but makes no progress; its supervisor restarts it.

A thread queries Kafka, with a client of its own, for the group's committed offsets and for the
ends of the partitions that this process works on (`stalls` evaluates them), and exports the lag
as a metric (`infra.progress.group_offsets`). It does not depend on the thread that it watches, so
it works while that thread hangs in Python or its event loop is blocked; only native code that
never releases the interpreter lock would block it, too::

    watchdog = Watchdog(settings, "millrace.inference", owned=consumer.places)
    watchdog.start()

`owned` must return at once, from any thread: the partitions that are being processed, by their
full topic names, or None while the process is starting (it waits for a broker, joins its group,
recovers tables). `started` returns the progress of the start: a start, however long, is not ended
while that number changes.

There are no false alarms: an unavailable broker is no evidence; transaction markers and aborted
records do not count as lag (before it acts, the watchdog reads a record that was there when its
count began); and time in which the whole process was suspended does not count. A process without
a group, whose main loop may hang, is watched by `BeatWatchdog`.
"""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Callable, Collection
from typing import Final, NoReturn

import structlog

from millrace.infra.kafka.place import Place
from millrace.infra.process.exit_status import BROKEN
from millrace.infra.process.guard_thread import GuardThread
from millrace.infra.process.stalls import Limits, Memory, Observation, Stall, judge
from millrace.infra.progress.group_offsets import GroupOffsets
from millrace.infra.settings import Settings

_log = structlog.get_logger(__name__)

#: How long the committed offset of a partition with records to read may stand still, seconds.
STALL_SECONDS: Final = 30.0
#: How long start-up, and the recovery of tables, may make no progress, seconds.
START_SECONDS: Final = 180.0
_EVERY_SECONDS: Final = 3.0
#: The hanging thread may hold the log's lock: time limit of the last log line, seconds.
_LAST_WORDS_SECONDS: Final = 2.0

Owned = Callable[[], Collection[Place] | None]
End = Callable[[str], None]


def end_process(why: str) -> NoReturn:
    """Log the reason in one line, with the main thread's position, and end at once."""
    frame = sys._current_frames().get(threading.main_thread().ident or 0)  # noqa: SLF001  # documented
    where = f"{frame.f_code.co_filename}:{frame.f_lineno}" if frame else "nowhere"

    def speak() -> None:
        _log.critical("the process is ended", why=why, main_thread=where)

    speaker = threading.Thread(target=speak, name="last-words", daemon=True)
    speaker.start()
    speaker.join(_LAST_WORDS_SECONDS)
    os._exit(BROKEN)


class Watchdog(GuardThread):
    """Detects lag without commits."""

    def __init__(
        self,
        settings: Settings,
        group: str,
        owned: Owned,
        *,
        started: Callable[[], int] = lambda: 0,
        stall_seconds: float = STALL_SECONDS,
        start_seconds: float = START_SECONDS,
        every_seconds: float = _EVERY_SECONDS,
        end: End = end_process,
    ) -> None:
        """Prepare the thread.

        Args:
            settings: Where Kafka is.
            group: The consumer group, before the namespace.
            owned: See the module's docstring.
            started: See the module's docstring.
            stall_seconds: How long a partition with records to read may stand still.
            start_seconds: How long `owned` may be None while `started` stays the same.
            every_seconds: Interval of the checks.
            end: Called when the process is stuck.
        """
        super().__init__("watchdog", every_seconds)
        self._offsets = GroupOffsets(settings, group)
        self._owned = owned
        self._started = started
        self._limits = Limits(stall_seconds, start_seconds, 2 * every_seconds)
        self._end = end
        self._memory = Memory()

    def turn(self) -> None:
        """Observe the group, and evaluate the observation."""
        self._memory, stall = judge(self._memory, time.monotonic(), self._look(), self._limits)
        if stall is not None and self._is_real(stall) and not self.stopped:
            self.stop()
            self._end(str(stall))

    def _look(self) -> Observation:
        before = self._owned()
        progress = self._offsets.progress(before or ())
        if progress is not None:
            self._offsets.show(progress)
        after = self._owned()
        if before is None or after is None:
            return Observation(None, progress, self._started())
        return Observation(set(before) & set(after), progress)

    def _is_real(self, stall: Stall) -> bool:
        """Whether a partition stands still before a readable record that was there all the time."""
        if not stall.still:
            return True
        return any(
            self._offsets.has_record(place, one.committed, one.end)
            for place, one in stall.still.items()
        )


class BeatWatchdog(GuardThread):
    """Ends a process whose main loop has stopped.

    It counts its own checks of the heartbeat, not the clock, so that time in which the whole
    process was suspended is no evidence.
    """

    def __init__(
        self,
        beat: Callable[[], float],
        stall_seconds: float,
        *,
        every_seconds: float = 1.0,
        end: End = end_process,
    ) -> None:
        """Prepare the thread.

        Args:
            beat: Returns a value that changes with every iteration of the loop.
            stall_seconds: How long it may stay the same.
            every_seconds: Interval of the checks.
            end: Called when the process is stuck.
        """
        super().__init__("watchdog", every_seconds)
        self._beat = beat
        self._stall = stall_seconds
        self._end = end
        self._last = beat()
        self._silent = 0.0

    def turn(self) -> None:
        """Check the heartbeat."""
        beat = self._beat()
        self._silent = self._silent + self._every if beat == self._last else 0.0
        self._last = beat
        if self._silent >= self._stall:
            self.stop()
            self._end(f"no progress for {self._silent:.0f} s")
