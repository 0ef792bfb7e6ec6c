"""Polls a named condition until it holds, with a deadline and a way to give up early."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final

from millrace.contracts.errors import ServerError

POLL_SECONDS: Final = 0.1


def wait_until(
    condition: Callable[[], bool],
    what: str,
    *,
    seconds: float,
    meanwhile: Callable[[], None] = lambda: None,
) -> None:
    """Return as soon as a condition holds.

    Args:
        condition: The condition; polled about ten times a second.
        what: Its name, for the message if it never holds.
        seconds: How long it may take.
        meanwhile: Called between two polls, to show progress; it raises to give up.

    Raises:
        ServerError: The condition did not hold in time.
    """
    deadline = time.monotonic() + seconds
    while not condition():
        meanwhile()
        if time.monotonic() > deadline:
            raise ServerError(f"waited {seconds:.0f} s in vain for {what}")
        time.sleep(POLL_SECONDS)
