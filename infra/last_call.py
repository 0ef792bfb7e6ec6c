"""Ends a process that was told to end and is still there when its time is over.

Whatever waits for a broker that is away waits a few seconds at a time, and several such waits
may follow each other on the way out. A process whose work is in transactions need not wait for
any of them: what it leaves open, the broker or its next life aborts.
"""

from __future__ import annotations

import threading

from infra.watchdog import End, end_process


class LastCall:
    """Lets a process take so long to end, and no longer."""

    def __init__(
        self,
        stop: threading.Event,
        seconds: float,
        *,
        end: End = end_process,
    ) -> None:
        """Begin to wait for the word, on a thread that does not keep the process alive.

        Args:
            stop: Set when the process is to end.
            seconds: How long it may take from then on.
            end: What to do with it after that.
        """
        self._stop = stop
        self._seconds = seconds
        self._end = end
        threading.Thread(target=self._run, name="last-call", daemon=True).start()

    def _run(self) -> None:
        self._stop.wait()
        threading.Event().wait(self._seconds)
        self._end(f"was told to end {self._seconds:g} s ago, and is still there")
