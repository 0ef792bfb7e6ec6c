"""Prints an error as one line, for a terminal or a log."""

from __future__ import annotations

import sys

from millrace.contracts.wire.visible import visible


def say_error(program: str, error: object) -> None:
    """Write an error to standard error as one line, with quoted text escaped.

    Args:
        program: Name of the program, as the line's prefix.
        error: The error.
    """
    sys.stderr.write(f"{program}: {visible(str(error))}\n")
