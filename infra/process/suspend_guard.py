"""Ends a process that was suspended for so long that others have taken over its work.

A suspended process (SIGSTOP, a paused container, a machine that slept) resumes in the middle of
its work, and assumes that its partitions are still assigned to it. This guard ends it before it
can write anything, and its supervisor restarts it. A suspension is detected by a thread that
should wake several times a second and has slept for longer than the group's session time-out.
Writers call `check` first; when the kernel reports that the process continues (SIGCONT), it is
checked at once.

A busy process is not mistaken for a suspended one: the thread wakes in between.
"""

from __future__ import annotations

import signal
import time
from collections.abc import Callable
from typing import Final

from millrace.infra.process.guard_thread import GuardThread
from millrace.infra.process.watchdog import end_process

_EVERY_SECONDS: Final = 0.25


class SuspendGuard(GuardThread):
    """Tracks when this process ran last."""

    def __init__(
        self,
        limit_seconds: float,
        *,
        end: Callable[[str], object] = end_process,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Prepare.

        Args:
            limit_seconds: Longest suspension after which the process may continue.
            end: Ends the process.
            clock: A clock that advances while the process is suspended.
        """
        super().__init__("standstill", _EVERY_SECONDS)
        self._limit = limit_seconds
        self._end = end
        self._clock = clock
        self._ran = clock()

    def start(self) -> None:
        """Start; from the main thread, which handles signals."""
        self._ran = self._clock()
        signal.signal(signal.SIGCONT, lambda *_: self.check())
        super().start()

    def check(self) -> None:
        """End the process if it was suspended for too long."""
        still = self._clock() - self._ran
        if still > self._limit and not self.stopped:
            self._end(f"it stood still for {still:.0f} s: others do its work by now")

    def turn(self) -> None:
        """Check, and note that the process runs."""
        self.check()
        self._ran = self._clock()
