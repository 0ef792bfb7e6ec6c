"""Ends a child process with its parent, however that ended."""

from __future__ import annotations

import os
import threading


def end_with_parent(status: int) -> None:
    """End this process when the parent's end of standard input is closed.

    The parent holds the pipe open for as long as it lives.

    Args:
        status: Exit status.
    """

    def watch() -> None:
        while os.read(0, 1):
            pass
        os._exit(status)

    threading.Thread(target=watch, name="parent", daemon=True).start()
