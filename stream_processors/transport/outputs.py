"""Writes that are confirmed by the broker before anything is acknowledged.

Records wait in a record batch per partition, which leaves in one send. The producer is
idempotent: it writes each record once and in order per partition. A failed delivery raises,
and the process ends before it could acknowledge what it has not written. Nothing leaves after
a failure: the next life takes the last record of an output for the end of all that was written.

A record that its topic would not take never leaves. One event (`write`) that is too large becomes a
dead letter that names its topic, and nothing else is held up. Windows (`write_all`) are never too
large: `validation` refuses those of a model whose windows would be.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import chain
from typing import Any, Final

from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError

from millrace.contracts.errors import ServerError
from millrace.contracts.events.dead_letter import dead_letter_headers
from millrace.contracts.headers import RawHeaders
from millrace.contracts.invalid_record import InvalidRecord
from millrace.contracts.topics import DEAD_LETTERS, Topic
from millrace.contracts.wire.cut_letter import CutLetter, cut_letter
from millrace.contracts.wire.sizes import record_size, takes
from millrace.infra.kafka.faust import aiokafka_config
from millrace.infra.settings import Settings
from millrace.stream_processors.codec.packing import Content, packed_headers
from millrace.stream_processors.codec.record_batches import RecordBatch
from millrace.stream_processors.metrics import DEAD

#: Longest wait of a record batch for the broker's confirmation, milliseconds.
CONFIRM_MS: Final = 30_000
#: Batches of a partition that may wait for the broker.
MOST_WAITING: Final = 16
#: Batches of so many bytes are compressed on another thread; going there and back costs more than
#: compressing a smaller one.
LARGE_BYTES: Final = 32 << 10
#: Bare size of a record batch, bytes; a larger record has one for itself.
BATCH_BYTES: Final = 512 << 10

#: A topic's full name, and a partition.
Place = tuple[str, int]
#: Batches that were not confirmed at some moment.
Written = frozenset["asyncio.Future[BaseException | None]"]


class _Batch:
    """Records of a partition that leave together."""

    def __init__(self, size: int) -> None:
        self.builder = RecordBatch(size)
        #: Done when the broker has them; its result is what went wrong, or None.
        self.confirmed: asyncio.Future[BaseException | None] = asyncio.Future()


class Outputs:
    """All writes of the stream processor; owned by the event loop.

    The producer takes a partition's next batch when the one before has left, so batches wait
    in a queue per partition, and the last one grows meanwhile: nobody waits for the broker but
    who asks for its confirmation.
    """

    def __init__(
        self,
        settings: Settings,
        producer: AIOKafkaProducer,
        check: Callable[[], None],
        batch_bytes: int = BATCH_BYTES,
        fail: Callable[[BaseException], object] = lambda _: None,
    ) -> None:
        """Take a producer that is connected; `connect` makes one.

        Args:
            settings: Namespace.
            producer: Writes.
            check: Called before anything leaves; ends the process if it may not write any more.
            batch_bytes: Bare size of a record batch.
            fail: Called at once when something could not be written, before the producer has a
                turn to send what it was given after that.
        """
        self._check = check
        self._fail = fail
        self._batch_bytes = batch_bytes
        self._settings = settings
        self._producer = producer
        self._names: dict[str, str] = {}
        self._waiting: dict[Place, deque[_Batch]] = {}
        self._senders: dict[Place, asyncio.Task[None]] = {}
        self._unconfirmed: set[asyncio.Future[BaseException | None]] = set()
        self._failure: BaseException | None = None
        self._sealer = ThreadPoolExecutor(1, "sealer")

    @classmethod
    async def connect(
        cls,
        settings: Settings,
        check: Callable[[], None],
        fail: Callable[[BaseException], object],
    ) -> Outputs:
        """Connect.

        Args:
            settings: Where Kafka is.
            check: Called before anything leaves; ends the process if it may not write any more.
            fail: See the class.

        Raises:
            ServerError: No broker answers.
        """
        producer = AIOKafkaProducer(
            **aiokafka_config(settings),
            enable_idempotence=True,
            request_timeout_ms=CONFIRM_MS,
        )
        try:
            await producer.start()
        except KafkaError as error:
            await producer.stop()
            raise ServerError(f"Kafka does not answer: {error}") from error
        return cls(settings, producer, check, fail=fail)

    def write(
        self,
        topic: Topic | str,
        key: bytes | str | None,
        value: bytes,
        headers: RawHeaders,
        partition: int = 0,
    ) -> None:
        """Put a record into its partition's batch; `send` lets it leave.

        One that its topic would not take becomes a dead letter, see the module.

        Args:
            topic: A topic, or the full name of one that is not among ours, whose limit the
                caller keeps.
            key: The record's key.
            value: Its value.
            headers: Its headers.
            partition: Its partition; topics that are not keyed by asset have only the first.
        """
        raw_key = key.encode() if isinstance(key, str) else key
        if isinstance(topic, Topic):
            size = record_size(raw_key, value, headers)
            if not takes(topic, size):
                raw_key, value, headers = _too_large(
                    topic, raw_key, value, headers, partition, size
                )
                topic = DEAD_LETTERS
        self.write_all(topic, [(raw_key, value, packed_headers(headers))], partition)

    def write_all(self, topic: Topic | str, records: Iterable[Content], partition: int) -> None:
        """Put records into their partition's batches, in order; see `write`."""
        name = topic if isinstance(topic, str) else self._named(topic)
        queue = self._waiting.get((name, partition))
        if queue is None:
            queue = self._waiting[name, partition] = deque()
        at_ms = round(time.time() * 1000)
        rest = iter(records)
        record = next(rest, None)
        while record is not None:
            if not queue or queue[-1].builder.closed():
                queue.append(self._begin())
            record = queue[-1].builder.fill(chain([record], rest), at_ms)

    async def send(self) -> None:
        """Let leave what was written; waits only where very much waits for the broker.

        Raises:
            ServerError: Something written earlier has not left; nothing does any more.
        """
        self._check_failure()
        for place, queue in self._waiting.items():
            if queue and place not in self._senders:
                self._senders[place] = asyncio.create_task(self._drain(place, queue))
        crowded = [queue for queue in self._waiting.values() if len(queue) > MOST_WAITING]
        for queue in crowded:
            while len(queue) > MOST_WAITING:
                await asyncio.wait([queue[0].confirmed])

    def written(self) -> Written:
        """What was written so far and is not confirmed yet."""
        return frozenset(self._unconfirmed)

    async def confirmed(self, written: Written | None = None) -> None:
        """Wait until the broker has what was written.

        Args:
            written: What to wait for; all that was written before this call if None.

        Raises:
            ServerError: It has not; nothing that depends on it may be acknowledged.
        """
        waited_for = self.written() if written is None else written
        await self.send()
        if waited_for:
            await asyncio.wait(waited_for)
        self._check_failure()

    async def close(self) -> None:
        """Disconnect; what is not confirmed is waited for."""
        if self._senders:
            await asyncio.wait(self._senders.values())
        await self._producer.stop()
        self._sealer.shutdown()

    def _named(self, topic: Topic) -> str:
        """The topic's name in the namespace, which is composed once."""
        name = self._names.get(topic.name)
        if name is None:
            name = self._names[topic.name] = self._settings.named(topic.name)
        return name

    def _begin(self) -> _Batch:
        batch = _Batch(self._batch_bytes)
        self._unconfirmed.add(batch.confirmed)
        batch.confirmed.add_done_callback(self._unconfirmed.discard)
        return batch

    async def _drain(self, place: Place, queue: deque[_Batch]) -> None:
        """Hand a partition's batches to the producer, in their order."""
        while queue:
            batch = queue.popleft()
            try:
                await self._hand_on(batch, *place)
            except Exception as error:  # noqa: BLE001  (whatever it is, nothing may follow it)
                self._settle(batch, error)
        del self._senders[place]

    async def _hand_on(self, batch: _Batch, topic: str, partition: int) -> None:
        """Compress a batch and hand it to the producer, unless something has failed."""
        await self._seal(batch.builder)
        self._check_failure()
        self._check()
        sent = await self._producer.send_batch(batch.builder, topic, partition=partition)
        sent.add_done_callback(partial(self._on_delivery, batch))

    async def _seal(self, batch: RecordBatch) -> None:
        """Compress a batch; a large one beside the event loop."""
        batch.close()
        if batch.size() < LARGE_BYTES:
            batch.seal()
        else:
            await asyncio.get_running_loop().run_in_executor(self._sealer, batch.seal)

    def _check_failure(self) -> None:
        if self._failure is not None:
            raise ServerError(f"records were not confirmed by Kafka: {self._failure!r}")

    def _on_delivery(self, batch: _Batch, sent: asyncio.Future[Any]) -> None:
        cancelled = asyncio.CancelledError() if sent.cancelled() else None
        self._settle(batch, cancelled or sent.exception())

    def _settle(self, batch: _Batch, failure: BaseException | None) -> None:
        if failure is not None and self._failure is None:
            self._failure = failure
            self._fail(failure)
        if not batch.confirmed.done():
            batch.confirmed.set_result(failure)


def _too_large(
    topic: Topic, key: bytes | None, value: bytes, headers: RawHeaders, partition: int, size: int
) -> CutLetter:
    """The dead letter of an event that its topic would not take; it has no place anywhere."""
    problem = InvalidRecord(
        "oversized_output",
        f"an event of {size} bytes does not fit into a record of {topic.name}, which may have"
        f" {topic.max_bytes}; have the model forecast fewer steps or sensors",
    )
    DEAD.labels(problem.reason).inc()
    said = dead_letter_headers(
        headers,
        problem,
        topic=topic.name,
        partition=partition,
        offset=-1,
        timestamp_ms=round(time.time() * 1000),
    )
    return cut_letter(key, value, said, None)
