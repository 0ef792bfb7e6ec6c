"""A thread that looks at its own process every so often, beside whatever the process does."""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod

import structlog

from millrace.contracts.errors import MillraceError

_log = structlog.get_logger(__name__)


class GuardThread(ABC):
    """Takes a turn every so often, until it is told to stop; never keeps the process alive.

    An exception ends the thread, and is logged; whoever owns the thread asks `check`, and so ends
    the process, which is started again.
    """

    def __init__(self, name: str, every_seconds: float) -> None:
        """Prepare the thread.

        Args:
            name: Its name.
            every_seconds: How long it waits between two turns.
        """
        self._every = every_seconds
        self._stop = threading.Event()
        self._problem: str | None = None
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    def start(self) -> None:
        """Begin to watch."""
        self._thread.start()

    def stop(self) -> None:
        """Watch no more: the process is ending, and may take its time."""
        self._stop.set()

    @property
    def stopped(self) -> bool:
        """Whether it was told to stop."""
        return self._stop.is_set()

    def check(self) -> None:
        """Make sure that the thread has not ended by itself.

        Raises:
            MillraceError: It has; says why.
        """
        if self._problem is not None:
            raise MillraceError(self._problem)

    @abstractmethod
    def turn(self) -> None:
        """Look once."""

    def _run(self) -> None:
        try:
            while not self._stop.wait(self._every):
                self.turn()
        except Exception as error:  # noqa: BLE001  # whatever it is, the owner has to know
            _log.exception("a thread has ended", thread=self._thread.name)
            self._problem = f"the thread {self._thread.name} has ended: {error!r}"
