"""A folder on a disk of a few MiB, which can be filled and freed while processes use it.

A mount namespace of its own has a small tmpfs where the folder is; a process that holds the
namespace keeps the disk over the lives of those that write to it, and from outside it is
reached through ``/proc``. No privilege is needed where user namespaces are allowed.

As a program it becomes another one within the namespace::

    python -m tests.faults.harness.small_disk HOLDER_PID MODULE [ARGUMENTS...]
"""

from __future__ import annotations

import errno
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from millrace.contracts.errors import MillraceError
from tests.places import PROJECT

_NAMESPACES: Final = ("unshare", "--user", "--map-root-user", "--mount")
#: The new disk takes over what the folder holds, and then its place.
_HOLD: Final = """\
mkdir -p "$1.disk" "$1"
mount -t tmpfs -o "size=$2m,mode=700" small "$1.disk"
cp -a "$1/." "$1.disk/"
mount --bind "$1.disk" "$1"
echo ready
exec cat
"""
_PIECES: Final = (1 << 20, 1 << 12)


class NoNamespacesError(MillraceError):
    """This machine gives no user namespaces, so that there can be no small disk."""


class SmallDisk:
    """The disk; a context. What is on it at the end is in the folder afterwards."""

    def __init__(self, folder: Path, mebibytes: int) -> None:
        """Describe it.

        Args:
            folder: The folder that is to be small; nobody may use it while the disk comes and
                goes.
            mebibytes: How small.
        """
        self.folder = folder.absolute()
        self._size = mebibytes
        self._holder: subprocess.Popen[str] | None = None

    def __enter__(self) -> Self:
        """Make it.

        Raises:
            NoNamespacesError: This machine cannot.
        """
        why = missing_namespaces()
        if why is not None:
            raise NoNamespacesError(f"no user namespaces here ({why})")
        self._holder = subprocess.Popen(
            [*_NAMESPACES, "sh", "-ec", _HOLD, "sh", str(self.folder), str(self._size)],
            cwd=PROJECT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,  # it outlives an interrupt, so that what is on it is kept
        )
        assert self._holder.stdout is not None
        if self._holder.stdout.readline().strip() != "ready":
            raise OSError(errno.ENOSPC, f"no disk of {self._size} MiB for {self.folder}")
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Bring what is on it back into the folder, and remove it."""
        assert self._holder is not None
        self.free()
        kept = self.folder.with_name(f"{self.folder.name}.kept")
        shutil.copytree(self._outside, kept, symlinks=True)
        assert self._holder.stdin is not None
        self._holder.stdin.close()
        self._holder.wait()
        assert self._holder.stdout is not None
        self._holder.stdout.close()
        # Not before: a folder that is removed takes the disk that is mounted there with it.
        shutil.rmtree(self.folder)
        self.folder.with_name(f"{self.folder.name}.disk").rmdir()
        kept.rename(self.folder)

    @property
    def arguments(self) -> list[str]:
        """First arguments of this module, as a program on this disk."""
        assert self._holder is not None
        return [str(self._holder.pid)]

    def fill(self) -> int:
        """Leave no byte free.

        Returns:
            Bytes of the ballast.
        """
        with self._ballast.open("ab", buffering=0) as file:
            for piece in _PIECES:
                zeros = bytes(piece)
                try:
                    while file.write(zeros):
                        pass
                except OSError as error:
                    if error.errno != errno.ENOSPC:
                        raise
            return file.tell()

    def free(self) -> None:
        """Remove the ballast."""
        self._ballast.unlink(missing_ok=True)

    @property
    def _outside(self) -> Path:
        """The folder on the disk, as seen from outside its namespace."""
        assert self._holder is not None
        return Path(f"/proc/{self._holder.pid}/root{self.folder}")

    @property
    def _ballast(self) -> Path:
        return self._outside / "ballast"


def missing_namespaces() -> str | None:
    """Say why there can be no small disk; None if there can."""
    if shutil.which("unshare") is None or shutil.which("nsenter") is None:
        return "util-linux is missing"
    tried = subprocess.run([*_NAMESPACES, "true"], capture_output=True, text=True, check=False)
    return tried.stderr.strip() or "refused" if tried.returncode else None


def inside(holder: str, module: str, arguments: Sequence[str]) -> list[str]:
    """Command line of a module within a holder's namespace; it becomes the module's process."""
    return [
        *("nsenter", f"--target={holder}", "--user", "--mount", "--preserve-credentials", "--wd"),
        *(sys.executable, "-m", module, *arguments),
    ]


if __name__ == "__main__":
    command = inside(sys.argv[1], sys.argv[2], sys.argv[3:])
    os.execvp(command[0], command)  # noqa: S606  # no shell is the point
