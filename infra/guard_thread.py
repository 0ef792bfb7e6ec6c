"""A thread that looks at its own process every so often, beside whatever the process does."""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod


class GuardThread(ABC):
    """Takes a turn every so often, until it is told to stop; never keeps the process alive."""

    def __init__(self, name: str, every_seconds: float) -> None:
        """Prepare the thread.

        Args:
            name: Its name.
            every_seconds: How long it waits between two turns.
        """
        self._every = every_seconds
        self._stop = threading.Event()
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

    @abstractmethod
    def turn(self) -> None:
        """Look once."""

    def _run(self) -> None:
        while not self._stop.wait(self._every):
            self.turn()
