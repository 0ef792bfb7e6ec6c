"""One running server per folder: its lock, its state file, and its port.

A process that starts a server first takes the lock of its folder and passes the open lock to the
Java process, which holds it until it ends, however it ends. So a taken lock means *running or
starting*, a free one means that any state file is stale, and no process id has to be trusted. The
state file, ``<home>/<server>.json``, is written before Java starts and gives clients the server's
port; the health check finds out whether the server answers there.
"""

import json
import random
import socket
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Self

from millrace.infra import files
from millrace.infra.files import replace_file, try_lock

LOOPBACK = "127.0.0.1"
#: Below the ephemeral ports of Linux, macOS and Windows.
_PORTS = range(20_000, 30_000)
_TRIES = 50


@dataclass(frozen=True)
class State:
    """Address of a server.

    Attributes:
        pid: Process id of Java.
        port: Port on the loopback address.
    """

    pid: int
    port: int

    def write(self, path: Path) -> None:
        """Replace the state file in one step."""
        replace_file(path, json.dumps(asdict(self)))

    @classmethod
    def read(cls, path: Path) -> Self | None:
        """Read the state file; None if it is missing or damaged."""
        try:
            content = json.loads(path.read_text())
            return cls(pid=int(content["pid"]), port=int(content["port"]))
        except (FileNotFoundError, ValueError, KeyError, TypeError):
            return None


def take_lock(folder: Path) -> int | None:
    """Take the lock of a server's folder.

    Returns:
        The open, locked file descriptor, to be passed to Java; None if another process runs on
        the folder.
    """
    folder.mkdir(parents=True, exist_ok=True)
    return try_lock(folder / "lock")


def is_locked(folder: Path) -> bool:
    """Whether a process runs, or is about to, on a server's folder."""
    return files.is_locked(folder / "lock")


def choose_port(*preferred: int) -> int:
    """Choose the first free loopback port of some preferred ones, else any free one.

    Never an ephemeral port: while a server is down, the system could assign its port to one of
    its own clients that try to reconnect.
    """
    for port in (*preferred, *random.sample(_PORTS, _TRIES)):
        if port and not answers(port) and _can_bind(port):
            return port
    with socket.socket() as listener:
        listener.bind((LOOPBACK, 0))
        port = listener.getsockname()[1]
    return int(port)


def answers(port: int) -> bool:
    """Whether something accepts connections on a loopback port."""
    with socket.socket() as client:
        client.settimeout(1.0)
        return client.connect_ex((LOOPBACK, port)) == 0


def _can_bind(port: int) -> bool:
    with socket.socket() as listener:
        # As Java does: lingering connections of an earlier server do not block the port.
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((LOOPBACK, port))
        except OSError:
            return False
    return True
