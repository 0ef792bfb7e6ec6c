"""An error as the person at the terminal, or whoever reads the log, gets it."""

from __future__ import annotations

import sys

from millrace.contracts.wire.visible import visible


def say_error(program: str, error: object) -> None:
    """Write an error to standard error: one line, whatever it quotes.

    Args:
        program: Who says it.
        error: The error.
    """
    sys.stderr.write(f"{program}: {visible(str(error))}\n")
