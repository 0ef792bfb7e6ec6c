"""XML-RPC over a Unix socket with timeouts, which supervisor's own client lacks."""

from __future__ import annotations

import http.client
import socket
import xmlrpc.client
from pathlib import Path
from typing import Any


class _UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: Path, seconds: float) -> None:
        super().__init__("localhost", timeout=seconds)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(str(self._path))


class UnixTransport(xmlrpc.client.Transport):
    """Transport of one proxy."""

    def __init__(self, path: Path, seconds: float) -> None:
        super().__init__()
        self._path = path
        self._seconds = seconds

    def make_connection(self, host: Any) -> http.client.HTTPConnection:
        """Connect to the socket; the host is ignored."""
        connection = _UnixConnection(self._path, self._seconds)
        self._connection = host, connection  # the base class closes it
        return connection
