"""A thread that checks its own process periodically, independent of the process's work."""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod

import structlog

from millrace.contracts.errors import MillraceError

_log = structlog.get_logger(__name__)


class GuardThread(ABC):
    """Takes a turn periodically, until it is stopped; a daemon thread.

    An exception ends the thread, and is logged; the thread's owner calls `check`, which raises
    and so ends the process, to be restarted.
    """

    def __init__(self, name: str, every_seconds: float) -> None:
        """Prepare the thread.

        Args:
            name: Its name.
            every_seconds: Pause between two turns.
        """
        self._every = every_seconds
        self._stop = threading.Event()
        self._problem: str | None = None
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def stop(self) -> None:
        """Take no more turns: the process is shutting down, which may take a while."""
        self._stop.set()

    @property
    def stopped(self) -> bool:
        """Whether `stop` was called."""
        return self._stop.is_set()

    def check(self) -> None:
        """Make sure that the thread has not ended by itself.

        Raises:
            MillraceError: It has; names the reason.
        """
        if self._problem is not None:
            raise MillraceError(self._problem)

    @abstractmethod
    def turn(self) -> None:
        """Check once."""

    def _run(self) -> None:
        try:
            while not self._stop.wait(self._every):
                self.turn()
        except Exception as error:  # noqa: BLE001  # of any kind: `check` reports it to the owner
            _log.exception("a thread has ended", thread=self._thread.name)
            self._problem = f"the thread {self._thread.name} has ended: {error!r}"
