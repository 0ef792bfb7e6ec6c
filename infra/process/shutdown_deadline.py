"""Ends a process that has not shut down within its time limit.

Calls to an unavailable broker block for a few seconds each, and a shutdown may make several of
them. A process whose work is transactional need not complete any of them: the broker, or the
restarted process, aborts a transaction that is left open.
"""

from __future__ import annotations

import signal
import socket
import threading

from millrace.infra.process.watchdog import End, end_process


class ShutdownDeadline:
    """Sets the stop event on a signal, and ends the process after a time limit.

    Python runs a signal handler between two bytecodes of the main thread, not while that blocks in
    native code; this thread is notified of the signal at once.
    """

    def __init__(self, stop: threading.Event, seconds: float, *, end: End = end_process) -> None:
        """Start listening, on a daemon thread.

        Args:
            stop: Set when a signal arrives; every signal that has a handler counts.
            seconds: How long the process may take from then on.
            end: Called after that time.
        """
        self._stop = stop
        self._seconds = seconds
        self._end = end
        self._ear, self._mouth = socket.socketpair()
        self._mouth.setblocking(False)
        signal.set_wakeup_fd(self._mouth.fileno(), warn_on_full_buffer=False)
        self._thread = threading.Thread(target=self._run, name="last-call", daemon=True)
        self._thread.start()

    def join(self) -> None:
        """Wait until `end` has returned, if it does."""
        self._thread.join()

    def _run(self) -> None:
        with self._ear, self._mouth:
            self._ear.recv(1)
            self._stop.set()
            threading.Event().wait(self._seconds)
            self._end(f"was told to end {self._seconds:g} s ago, and is still there")
