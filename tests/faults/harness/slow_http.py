"""An HTTP server that passes everything on to another, and takes its time to answer."""

from __future__ import annotations

import http.client
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Final, Self
from urllib.parse import urlsplit

_HOST: Final = "127.0.0.1"
_HOP: Final = frozenset({"connection", "keep-alive", "transfer-encoding", "content-length"})
_PATIENCE_SECONDS: Final = 30.0


class SlowHttp:
    """A context; the host that a client has signed its request for is passed on as it is.

    Attributes:
        address: Where it answers.
    """

    def __init__(self, upstream: str, seconds: float) -> None:
        """Prepare.

        Args:
            upstream: ``http://host:port`` of the server behind it.
            seconds: How long each answer takes, at least.
        """
        behind = urlsplit(upstream).netloc

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_any(self) -> None:
                """Wait, ask the other server, and pass its answer on."""
                body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
                time.sleep(seconds)  # the slowness itself
                client = http.client.HTTPConnection(behind, timeout=_PATIENCE_SECONDS)
                try:
                    client.request(self.command, self.path, body, dict(self.headers.items()))
                    answer = client.getresponse()
                    data = answer.read()
                finally:
                    client.close()
                self.send_response(answer.status)
                for name, value in answer.getheaders():
                    if name.lower() not in _HOP:
                        self.send_header(name, value)
                length = answer.getheader("Content-Length") or str(len(data))
                self.send_header("Content-Length", length)
                self.end_headers()
                if self.command != "HEAD":
                    self.wfile.write(data)

            do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = do_any  # noqa: N815

            def log_message(self, *_: object) -> None:
                """Say nothing."""

        self._server = ThreadingHTTPServer((_HOST, 0), Handler)
        self._server.daemon_threads = True
        self.address = f"http://{_HOST}:{self._server.server_address[1]}"
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)

    def __enter__(self) -> Self:
        """Answer from now on."""
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Answer no more."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()
