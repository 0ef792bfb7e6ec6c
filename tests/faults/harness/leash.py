"""Ends what a harness would leave behind if it dies itself, however it dies.

Whoever starts a process (in a session of its own) ties it to the leash and unties it when it
has ended. The leash is a small process that does nothing but read from a pipe; when the pipe
breaks, since the harness was killed or its client library has aborted it, everything that is
still tied is killed, with all that it has started::

    process = subprocess.Popen(command, start_new_session=True)
    leash().tie(process.pid)
"""

from __future__ import annotations

import atexit
import functools
import os
import signal
import subprocess
import sys
from collections.abc import Iterable
from contextlib import suppress
from typing import Final

from tests.places import PROJECT

_TIE: Final = "+"
_UNTIE: Final = "-"
_END_SECONDS: Final = 10.0


class Leash:
    """The harness's end of the pipe. May be used from several threads."""

    def __init__(self) -> None:
        """Start the other end."""
        self._keeper = subprocess.Popen(
            [sys.executable, "-m", "tests.faults.harness.leash"],
            cwd=PROJECT,
            stdin=subprocess.PIPE,
            start_new_session=True,  # an interrupt is for the harness, which tidies up itself
        )

    def tie(self, pid: int) -> None:
        """Let the process group of this number end with the harness at the latest."""
        self._tell(_TIE, pid)

    def untie(self, pid: int) -> None:
        """It has ended; its number may soon be another's."""
        self._tell(_UNTIE, pid)

    def close(self) -> None:
        """End the leash, and whatever is still tied."""
        assert self._keeper.stdin is not None
        with suppress(BrokenPipeError):
            self._keeper.stdin.close()
        self._keeper.wait(_END_SECONDS)

    def _tell(self, word: str, pid: int) -> None:
        """Write a line at once; lines as short as these are never mixed up."""
        assert self._keeper.stdin is not None
        with suppress(BrokenPipeError):  # without a leash the harness still tidies up itself
            os.write(self._keeper.stdin.fileno(), f"{word}{pid}\n".encode())


@functools.cache
def leash() -> Leash:
    """The leash of this process."""
    made = Leash()
    atexit.register(made.close)
    return made


def left(lines: Iterable[str]) -> set[int]:
    """Say what is still tied after some lines.

    >>> left(["+7", "+8", "-7"])
    {8}
    """
    tied: set[int] = set()
    for line in lines:
        word, pid = line[0], int(line[1:])
        if word == _TIE:
            tied.add(pid)
        else:
            tied.discard(pid)
    return tied


def main() -> None:
    """Read until the harness is gone, and end what it has left."""
    for pid in left(sys.stdin):
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(pid, signal.SIGKILL)


if __name__ == "__main__":
    main()
