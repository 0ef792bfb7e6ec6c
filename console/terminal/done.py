"""Shows how much of long work is done: one line on a terminal, a line now and then elsewhere."""

from __future__ import annotations

import time
from typing import Final, Self

from millrace.console.terminal.output import remarks

#: Interval of the lines where standard error is no terminal, seconds.
_TELL_SECONDS: Final = 10.0


class Done:
    """Shows on standard error how many records are done. A context manager."""

    def __init__(self) -> None:
        """Start the clock."""
        self._status = remarks.status("starting")
        self._began = self._last = time.monotonic()

    def __enter__(self) -> Self:
        """Show that it begins."""
        self._status.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Remove the line."""
        self._status.stop()

    def __call__(self, done: int, of: int) -> None:
        """Show how many records are done."""
        now = time.monotonic()
        rate = done / max(now - self._began, 1e-3)
        line = f"{done:,} of at most {of:,} records, {rate:,.0f}/s"
        if remarks.is_terminal:
            self._status.update(line)
        elif now - self._last >= _TELL_SECONDS:
            self._last = now
            remarks.print(line, highlight=False)
