"""Ends a process that was told to end and is still there when its time is over.

Whatever waits for a broker that is away waits a few seconds at a time, and several such waits
may follow each other on the way out. A process whose work is in transactions need not wait for
any of them: what it leaves open, the broker or its next life aborts.
"""

from __future__ import annotations

import signal
import socket
import threading

from millrace.infra.process.watchdog import End, end_process


class ShutdownDeadline:
    """Passes on the word to end, and lets the process take so long, and no longer.

    Python runs a signal's handler when the main thread is between two steps of its own, not while
    it waits in native code; this hears of the signal at once.
    """

    def __init__(self, stop: threading.Event, seconds: float, *, end: End = end_process) -> None:
        """Begin to listen, on a thread that does not keep the process alive.

        Args:
            stop: Set when a signal comes; every signal that has a handler counts.
            seconds: How long the process may take from then on.
            end: What to do with it after that.
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
