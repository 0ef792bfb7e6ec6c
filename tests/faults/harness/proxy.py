"""A network that can be told to misbehave: a TCP proxy between Kafka's clients and the broker.

It forwards whole frames of Kafka's protocol, which all begin with their length, so that it
can tell a request from another: after its length a request has its kind, its version and a
correlation id, and its answer begins with the same id. It runs in a thread of its own::

    with Proxy(port=19292, upstream=19192) as proxy:
        proxy.delay(0.2)          # every frame, each way
        proxy.cut()               # all connections, now
        proxy.drop_commits(1)     # the broker commits a transaction; its answer never arrives

The broker has to tell its clients the proxy's address (`infra.embedded.kafka.Behind`).
"""

from __future__ import annotations

import asyncio
import struct
import threading
from collections.abc import Awaitable, Callable
from concurrent.futures import Future
from types import TracebackType
from typing import Any, Final, Self

HOST: Final = "127.0.0.1"
#: Kafka's number of the request that ends a transaction.
END_TXN: Final = 26
_LENGTH: Final = struct.Struct(">i")
#: Kind, version and correlation id of a request.
_REQUEST: Final = struct.Struct(">hhi")
_ANSWER: Final = struct.Struct(">i")
#: Frames that wait for their time in one direction of a connection, at most.
_WAITING: Final = 1_000
_READY_SECONDS: Final = 10.0

_Keep = Callable[[bytes], bool]


class Proxy:
    """The network; all methods may be called from any thread.

    Attributes:
        connections: Number of connections that were made so far.
        lost_commits: Number of transactions whose end the broker answered in vain.
    """

    def __init__(self, port: int, upstream: int) -> None:
        """Prepare; entering the context begins to listen.

        Args:
            port: Where clients connect, on the loopback address.
            upstream: The broker's listener for the proxy.
        """
        self.connections = 0
        self.lost_commits = 0
        self._port = port
        self._upstream = upstream
        self._delay = 0.0
        self._swallow = False
        self._commits_to_drop = 0
        self._open: set[_Connection] = set()
        self._tasks: set[asyncio.Task[Any]] = set()
        self._server: asyncio.Server | None = None
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="proxy", daemon=True)

    def __enter__(self) -> Self:
        """Listen."""
        self._thread.start()
        self._call(self._listen())
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Cut everything and listen no more."""
        self._call(self._end())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(_READY_SECONDS)
        self._loop.close()

    def delay(self, seconds: float) -> None:
        """Let each frame take so long, each way; order and throughput stay."""
        self._delay = seconds

    def cut(self) -> int:
        """Reset all connections; new ones are accepted.

        Returns:
            How many there were.
        """
        count: int = self._call(self._cut())
        return count

    def refuse(self) -> None:
        """Refuse new connections; those that are open stay."""
        self._call(self._stop_listening())

    def accept(self) -> None:
        """Accept connections again."""
        self._call(self._listen())

    def swallow(self) -> None:
        """Lose every frame, each way, without a word."""
        self._swallow = True

    def forward(self) -> None:
        """Forward frames again."""
        self._swallow = False

    def drop_commits(self, count: int) -> None:
        """Forward that many requests to end a transaction; lose the answers and cut."""
        self._commits_to_drop += count

    def _call(self, work: Awaitable[Any]) -> Any:
        async def run() -> Any:
            return await work

        future: Future[Any] = asyncio.run_coroutine_threadsafe(run(), self._loop)
        return future.result(_READY_SECONDS)

    async def _listen(self) -> None:
        if self._server is None:
            self._server = await asyncio.start_server(self._accept, HOST, self._port)

    async def _stop_listening(self) -> None:
        if self._server is not None:
            self._server.close()
            self._server = None

    async def _cut(self) -> int:
        there = list(self._open)
        for connection in there:
            connection.cut()
        return len(there)

    async def _end(self) -> None:
        await self._stop_listening()
        await self._cut()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        task = asyncio.current_task()
        if task is not None:
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        connection = _Connection(self, writer)
        self._open.add(connection)
        try:
            upstream = await asyncio.open_connection(HOST, self._upstream)
            connection.writers.append(upstream[1])
            await connection.forward(reader, *upstream)
        except OSError:
            pass  # the broker is away: so is this connection, as if there were no proxy
        finally:
            connection.cut()
            self._open.discard(connection)

    def may_drop_commit(self) -> bool:
        """Take one of the commits that are to be dropped."""
        if self._commits_to_drop == 0:
            return False
        self._commits_to_drop -= 1
        return True

    @property
    def seconds_late(self) -> float:
        """How long a frame takes now."""
        return self._delay

    @property
    def swallows(self) -> bool:
        """Whether frames are lost now."""
        return self._swallow


class _Connection:
    """One client's connection, and the broker's end of it."""

    def __init__(self, proxy: Proxy, client: asyncio.StreamWriter) -> None:
        self._proxy = proxy
        self.writers = [client]
        #: Correlation ids of transactions' ends whose answers are to be lost.
        self._lose: set[int] = set()

    def cut(self) -> None:
        """Reset both ends."""
        for writer in self.writers:
            writer.transport.abort()

    async def forward(
        self,
        client: asyncio.StreamReader,
        broker: asyncio.StreamReader,
        to_broker: asyncio.StreamWriter,
    ) -> None:
        """Forward frames both ways until one end is gone."""
        ways = [
            asyncio.create_task(self._one_way(client, to_broker, self._see_request)),
            asyncio.create_task(self._one_way(broker, self.writers[0], self._see_answer)),
        ]
        try:
            await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for way in ways:
                way.cancel()
            await asyncio.gather(*ways, return_exceptions=True)

    async def _one_way(
        self, source: asyncio.StreamReader, target: asyncio.StreamWriter, keep: _Keep
    ) -> None:
        """Forward one direction; a frame is late by as much as was asked for when it came."""
        waiting: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue(_WAITING)
        deliver = asyncio.create_task(_deliver(waiting, target))
        clock = asyncio.get_running_loop().time
        try:
            while not deliver.done():
                frame = await _frame(source)
                if self._proxy.swallows or not keep(frame):
                    continue
                await waiting.put((clock() + self._proxy.seconds_late, frame))
        except (asyncio.IncompleteReadError, OSError):
            return  # one end is gone, and so is the connection
        finally:
            deliver.cancel()
            await asyncio.gather(deliver, return_exceptions=True)

    def _see_request(self, frame: bytes) -> bool:
        kind, _, correlation = _REQUEST.unpack_from(frame, _LENGTH.size)
        if kind == END_TXN and self._proxy.may_drop_commit():
            self._lose.add(correlation)
        return True

    def _see_answer(self, frame: bytes) -> bool:
        (correlation,) = _ANSWER.unpack_from(frame, _LENGTH.size)
        if correlation not in self._lose:
            return True
        self._lose.discard(correlation)
        self._proxy.lost_commits += 1
        self.cut()
        return False


async def _frame(source: asyncio.StreamReader) -> bytes:
    """Read a frame, with its length."""
    head = await source.readexactly(_LENGTH.size)
    return head + await source.readexactly(_LENGTH.unpack(head)[0])


async def _deliver(
    waiting: asyncio.Queue[tuple[float, bytes]], target: asyncio.StreamWriter
) -> None:
    """Write frames when their time has come."""
    clock = asyncio.get_running_loop().time
    while True:
        due, frame = await waiting.get()
        if due > clock():
            await asyncio.sleep(due - clock())
        target.write(frame)
        await target.drain()
