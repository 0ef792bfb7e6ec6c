"""Writes that are confirmed by the broker before anything is acknowledged.

Records are buffered in a record batch per partition, which is sent at once. The producer is
idempotent: it writes each record once and in order per partition. A failed delivery raises, and the
process ends before it can acknowledge an unwritten record. Nothing is sent after a failure, because
the restarted process assumes that everything before the last record of an output was written.

A record that exceeds its topic's size limit is never sent. A single event (`write`) that is too
large becomes a dead letter that names its topic, and other records are not delayed. Windows
(`write_all`) are never too large: `validation` refuses windows of a model for which they would be.
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
#: Most batches of a partition that may be queued for the broker.
MOST_WAITING: Final = 16
#: Batches of at least so many bytes are compressed on another thread; for smaller ones the thread
#: switch costs more than the compression.
LARGE_BYTES: Final = 32 << 10
#: Uncompressed size of a record batch, bytes; a larger record gets a batch of its own.
BATCH_BYTES: Final = 512 << 10

#: A topic's full name, and a partition.
Place = tuple[str, int]
#: Batches that were unconfirmed at some point.
Written = frozenset["asyncio.Future[BaseException | None]"]


class _Batch:
    """Records of a partition that are sent together."""

    def __init__(self, size: int) -> None:
        self.builder = RecordBatch(size)
        #: Done when the broker has confirmed them or failed; its result is the error, or None.
        self.confirmed: asyncio.Future[BaseException | None] = asyncio.Future()


class Outputs:
    """All writes of the stream processor; owned by the event loop.

    The producer takes a partition's next batch once the previous one was sent. Batches are queued
    per partition, and the last one grows meanwhile, so only `confirmed` waits for the broker.
    """

    def __init__(
        self,
        settings: Settings,
        producer: AIOKafkaProducer,
        check: Callable[[], None],
        batch_bytes: int = BATCH_BYTES,
        fail: Callable[[BaseException], object] = lambda _: None,
    ) -> None:
        """Store a connected producer; `connect` creates one.

        Args:
            settings: Namespace.
            producer: Writes.
            check: Called before records are sent; ends the process if it may not write any more.
            batch_bytes: Uncompressed size of a record batch.
            fail: Called immediately when a write failed, before the producer can send later
                records.
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
            check: Called before records are sent; ends the process if it may not write any more.
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
        """Add a record to its partition's batch; `send` sends it.

        A record too large for its topic becomes a dead letter, see the module.

        Args:
            topic: A topic, or the full name of one outside `contracts`, whose size limit the caller
                respects.
            key: The record's key.
            value: Its value.
            headers: Its headers.
            partition: Its partition; topics that are not keyed by asset have only partition 0.
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
        """Add records to their partition's batches, in order; see `write`."""
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
        """Send the buffered records; waits only if a partition's queue is full.

        Raises:
            ServerError: An earlier write failed; nothing is sent any more.
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
        """Batches that are written so far and not confirmed yet."""
        return frozenset(self._unconfirmed)

    async def confirmed(self, written: Written | None = None) -> None:
        """Wait until the broker has confirmed records.

        Args:
            written: Batches to wait for; if None, all that were written before this call.

        Raises:
            ServerError: A write failed; nothing that depends on it may be acknowledged.
        """
        waited_for = self.written() if written is None else written
        await self.send()
        if waited_for:
            await asyncio.wait(waited_for)
        self._check_failure()

    async def close(self) -> None:
        """Disconnect, after waiting for outstanding confirmations."""
        if self._senders:
            await asyncio.wait(self._senders.values())
        await self._producer.stop()
        self._sealer.shutdown()

    def _named(self, topic: Topic) -> str:
        """The topic's name in the namespace, cached."""
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
        """Pass a partition's batches to the producer, in order."""
        while queue:
            batch = queue.popleft()
            try:
                await self._hand_on(batch, *place)
            except Exception as error:  # noqa: BLE001  (after any error, nothing may be sent)
                self._settle(batch, error)
        del self._senders[place]

    async def _hand_on(self, batch: _Batch, topic: str, partition: int) -> None:
        """Compress a batch and pass it to the producer, unless a write has failed."""
        await self._seal(batch.builder)
        self._check_failure()
        self._check()
        sent = await self._producer.send_batch(batch.builder, topic, partition=partition)
        sent.add_done_callback(partial(self._on_delivery, batch))

    async def _seal(self, batch: RecordBatch) -> None:
        """Compress a batch; a large one off the event loop."""
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
    """The dead letter of an event that is too large for its topic; its origin has no offset."""
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
