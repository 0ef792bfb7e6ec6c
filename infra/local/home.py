"""The folders of a system on this machine, all under one home (`var/` by default)."""

from __future__ import annotations

import os
import tempfile
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Final

from millrace.contracts.errors import SettingsError
from millrace.infra.settings import Settings

#: A Unix socket's path may have 108 bytes on Linux and 104 on macOS, the final NUL included.
_LONGEST_SOCKET_PATH: Final = 100
#: Texts that end a value, begin a comment or are expanded in a supervisor configuration.
_UNQUOTABLE: Final = ('"', "%", "\n", " ;", " #")


@dataclass(frozen=True)
class Home:
    """Paths of a system's files.

    Attributes:
        root: The home folder, absolute.
    """

    root: Path

    @classmethod
    def of(cls, settings: Settings) -> Home:
        """Take the home from the settings.

        Raises:
            SettingsError: Its name cannot be part of a process manager's configuration.
        """
        root = settings.home.absolute()
        if any(mark in str(root) for mark in _UNQUOTABLE):
            raise SettingsError(
                f"MILLRACE_HOME is {str(root)!r}: choose a folder without quotes, per cent"
                " signs, line breaks, ' ;' and ' #' in its name"
            )
        return cls(root)

    @property
    def logs(self) -> Path:
        """Folder of the programs' logs, one per program."""
        return self.root / "log"

    @property
    def run(self) -> Path:
        """Folder of the running system's files: configuration, socket, process ids."""
        return self.root / "run"

    @property
    def address(self) -> Path:
        """File in which commands find the running system."""
        return self.root / "system.json"

    @property
    def demo(self) -> Path:
        """Folder with the files of the last demonstration."""
        return self.root / "demo"

    @property
    def socket(self) -> Path:
        """The process manager's control socket.

        In a private folder elsewhere if the path under the home is too long for a socket.
        """
        path = self.run / "supervisor.sock"
        if len(os.fsencode(path)) <= _LONGEST_SOCKET_PATH:
            return path
        name = sha256(os.fsencode(self.root)).hexdigest()[:12]
        return Path(tempfile.gettempdir()) / f"millrace-{os.getuid()}-{name}" / "s.sock"

    def create(self) -> None:
        """Make the folders.

        Raises:
            SettingsError: They cannot be made, or the socket's belongs to another user.
        """
        try:
            for folder in (self.root, self.logs, self.run):
                folder.mkdir(parents=True, exist_ok=True)
            self.socket.parent.mkdir(mode=0o700, exist_ok=True)
        except OSError as error:
            raise SettingsError(
                f"cannot create {error.filename}: {error.strerror};"
                " choose another folder with MILLRACE_HOME"
            ) from error
        if self.socket.parent.stat().st_uid != os.getuid():
            raise SettingsError(f"{self.socket.parent} belongs to somebody else; remove it")
