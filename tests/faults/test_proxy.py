"""The proxy forwards, delays, cuts, and loses exactly the answers that it is asked to lose."""

from __future__ import annotations

import socket
import socketserver
import struct
import threading
import time
from collections.abc import Iterator
from typing import Self

import pytest

from millrace.infra.embedded.instance import choose_port
from tests.faults.harness.proxy import END_TXN, HOST, Proxy

pytestmark = pytest.mark.timeout(30)
PRODUCE = 0
_HEAD = struct.Struct(">ihhi")
_ANSWER = struct.Struct(">ii")


class Broker(socketserver.ThreadingTCPServer):
    """Answers each request with its correlation id."""

    daemon_threads = True
    allow_reuse_address = True

    def __init__(self) -> None:
        super().__init__((HOST, 0), _Answers)
        self.asked: list[tuple[int, int]] = []


class _Answers(socketserver.StreamRequestHandler):
    server: Broker

    def handle(self) -> None:
        while len(head := self.rfile.read(_HEAD.size)) == _HEAD.size:
            _, kind, _, correlation = _HEAD.unpack(head)
            self.server.asked.append((kind, correlation))
            self.wfile.write(_ANSWER.pack(4, correlation))


@pytest.fixture
def broker() -> Iterator[Broker]:
    """A broker that answers."""
    with Broker() as made:
        thread = threading.Thread(target=made.serve_forever)
        thread.start()
        yield made
        made.shutdown()
        thread.join()


@pytest.fixture
def proxy(broker: Broker) -> Iterator[Proxy]:
    """A proxy before it."""
    with Proxy(choose_port(), broker.server_address[1]) as made:
        yield made


class Client:
    """A connection through the proxy."""

    def __init__(self, proxy: Proxy) -> None:
        self.socket = socket.create_connection((HOST, proxy._port), timeout=5)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.socket.close()

    def ask(self, kind: int, correlation: int) -> int | None:
        """Ask, and take the answer's correlation id; None if the connection ends."""
        try:
            self.socket.sendall(_HEAD.pack(8, kind, 0, correlation))
            data = self.socket.recv(_ANSWER.size)
        except ConnectionError:
            return None
        return int(_ANSWER.unpack(data)[1]) if data else None


def test_requests_and_answers_pass(proxy: Proxy, broker: Broker) -> None:
    """As they are, and in order."""
    with Client(proxy) as client:
        assert [client.ask(PRODUCE, number) for number in range(5)] == [0, 1, 2, 3, 4]
    assert broker.asked == [(PRODUCE, number) for number in range(5)]


def test_only_the_answer_of_a_commit_is_lost(proxy: Proxy, broker: Broker) -> None:
    """The broker has committed; the client's connection ends, and the next commit is answered."""
    proxy.drop_commits(1)
    with Client(proxy) as client, Client(proxy) as other:
        assert client.ask(PRODUCE, 1) == 1
        assert client.ask(END_TXN, 2) is None
        assert broker.asked == [(PRODUCE, 1), (END_TXN, 2)]
        assert proxy.lost_commits == 1
        assert other.ask(END_TXN, 3) == 3


def test_a_delay_is_each_way(proxy: Proxy) -> None:
    """An answer takes twice as long, and no longer once the delay is over."""
    with Client(proxy) as client:
        proxy.delay(0.1)
        began = time.monotonic()
        assert client.ask(PRODUCE, 1) == 1
        assert time.monotonic() - began >= 0.2
        proxy.delay(0.0)
        assert client.ask(PRODUCE, 2) == 2


def test_connections_are_cut_and_refused(proxy: Proxy) -> None:
    """Those that are open end; new ones are refused until they are accepted again."""
    with Client(proxy) as client:
        assert client.ask(PRODUCE, 1) == 1
        proxy.refuse()
        assert proxy.cut() == 1
        assert client.ask(PRODUCE, 2) is None
    with pytest.raises(ConnectionError):
        Client(proxy)
    proxy.accept()
    with Client(proxy) as again:
        assert again.ask(PRODUCE, 3) == 3


def test_a_silent_network_keeps_connections(proxy: Proxy, broker: Broker) -> None:
    """Nothing arrives, and nobody is told."""
    with Client(proxy) as client:
        client.socket.settimeout(0.3)
        proxy.swallow()
        with pytest.raises(TimeoutError):
            client.ask(PRODUCE, 1)
        assert broker.asked == []


def test_a_broker_that_is_away_ends_the_connection() -> None:
    """As if there were no proxy."""
    with Proxy(choose_port(), choose_port()) as proxy, Client(proxy) as client:
        assert client.ask(PRODUCE, 1) is None
