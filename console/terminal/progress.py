"""Shows what a command is waiting for: a spinner on a terminal, plain lines elsewhere."""

from __future__ import annotations

import time
from types import TracebackType
from typing import Self

from rich.status import Status

from millrace.console.terminal.output import remarks
from millrace.infra.terminal import line


class Progress:
    """The progress line. A context manager."""

    def __init__(self) -> None:
        """Start the clock."""
        self._status: Status | None = None
        self._said = ""
        self._began = time.monotonic()

    def __enter__(self) -> Self:
        """Begin."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """End the spinner."""
        self.pause()

    def waiting_for(self, what: str) -> None:
        """Show what the command is waiting for."""
        if what == self._said:
            return
        self._said = what
        said = f"waiting for {what}"
        if not remarks.is_terminal:
            remarks.print(f"[{self._elapsed}] {said}", highlight=False)
        elif self._status is None:
            self._status = remarks.status(line(said))
            self._status.start()
        else:
            self._status.update(line(said))

    def done(self, what: str) -> None:
        """Print what is complete."""
        self.pause()
        remarks.print(f"[{self._elapsed}] {what}", highlight=False, soft_wrap=True)

    def pause(self) -> None:
        """Remove the spinner."""
        self._said = ""
        if self._status is not None:
            self._status.stop()
            self._status = None

    @property
    def _elapsed(self) -> str:
        return f"{time.monotonic() - self._began:5.1f} s"
