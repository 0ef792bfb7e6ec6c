"""Writes that are confirmed by the broker before anything is acknowledged.

Records wait in a record batch per partition, which leaves in one send. The producer is
idempotent: it writes each record once and in order per partition. A failed delivery raises,
and the process ends before it could acknowledge what it has not written.
"""

from __future__ import annotations

import asyncio
import sys
from functools import partial
from typing import Any, Final

from aiokafka import AIOKafkaProducer
from aiokafka.codec import zstd_encode
from aiokafka.errors import KafkaError
from aiokafka.producer.message_accumulator import BatchBuilder
from aiokafka.record.default_records import DefaultRecordBatchBuilder

from contracts.errors import ServerError
from contracts.headers import RawHeaders
from contracts.topics import Topic
from infra.faust_kafka import aiokafka_config
from infra.settings import Settings

#: Longest wait of a record batch for the broker's confirmation, milliseconds.
CONFIRM_MS: Final = 30_000
#: Level of zstd. Measured on normalised windows: a fifth of the time of aiokafka's level 3,
#: for batches that are 8 % larger.
ZSTD_LEVEL: Final = -3
#: Bare size of a record batch, bytes; a larger record has one for itself.
BATCH_BYTES: Final = 512 << 10
#: Let the key choose the partition.
ANY: Final = -1


class Outputs:
    """All writes of the stream processor; owned by the event loop."""

    def __init__(self, settings: Settings, producer: AIOKafkaProducer) -> None:
        """Take a producer that is connected; `connect` makes one."""
        self._settings = settings
        self._producer = producer
        self._open: dict[tuple[str, int], BatchBuilder] = {}
        self._closed: list[tuple[str, int, BatchBuilder]] = []
        self._unconfirmed: set[asyncio.Future[Any]] = set()
        self._failure: BaseException | None = None
        self._sending = asyncio.Lock()
        self._names: dict[str, str] = {}

    @classmethod
    async def connect(cls, settings: Settings) -> Outputs:
        """Connect.

        Raises:
            ServerError: No broker answers.
        """
        _compress_fast()
        producer = AIOKafkaProducer(
            **aiokafka_config(settings),
            enable_idempotence=True,
            compression_type="zstd",
            request_timeout_ms=CONFIRM_MS,
            max_batch_size=BATCH_BYTES,
        )
        try:
            await producer.start()
        except KafkaError as error:
            await producer.stop()
            raise ServerError(f"Kafka does not answer: {error}") from error
        return cls(settings, producer)

    def write(
        self,
        topic: Topic | str,
        key: bytes | str | None,
        value: bytes,
        headers: RawHeaders,
        partition: int = 0,
    ) -> None:
        """Put a record into its partition's batch; `send` lets it leave.

        Args:
            topic: A topic, or the full name of one that is not among ours.
            key: The record's key.
            value: Its value.
            headers: Its headers.
            partition: Its partition; topics that are not keyed by asset have only the first.
        """
        name = topic if isinstance(topic, str) else self._named(topic)
        place = (name, partition)
        raw_key = key.encode() if isinstance(key, str) else key
        while True:
            batch = self._open.get(place)
            if batch is None:
                batch = self._open[place] = self._producer.create_batch()
            if batch.append(timestamp=None, key=raw_key, value=value, headers=headers):
                return
            self._closed.append((*place, self._open.pop(place)))  # it is full

    def _named(self, topic: Topic) -> str:
        """The topic's name in the namespace, which is composed once."""
        name = self._names.get(topic.name)
        if name is None:
            name = self._names[topic.name] = self._settings.named(topic.name)
        return name

    async def send(self) -> None:
        """Let everything leave that was written; waits while the broker is behind."""
        async with self._sending:  # batches of a partition keep their order
            self._closed += [(*place, batch) for place, batch in self._open.items()]
            self._open = {}
            while self._closed:
                topic, partition, batch = self._closed.pop(0)
                try:
                    sent = await self._producer.send_batch(batch, topic, partition=partition)
                except KafkaError as error:
                    raise ServerError(f"Kafka took no records of {topic}: {error!r}") from error
                self._unconfirmed.add(sent)
                sent.add_done_callback(self._on_delivery)

    async def confirmed(self) -> None:
        """Wait until the broker has everything that was written.

        Raises:
            ServerError: It has not; nothing that depends on it may be acknowledged.
        """
        await self.send()
        if self._unconfirmed:
            await asyncio.wait(set(self._unconfirmed))
        if self._failure is not None:
            raise ServerError(f"records were not confirmed by Kafka: {self._failure!r}")

    async def close(self) -> None:
        """Disconnect; what is not confirmed is waited for."""
        await self._producer.stop()

    def _on_delivery(self, sent: asyncio.Future[Any]) -> None:
        self._unconfirmed.discard(sent)
        if sent.cancelled():
            self._failure = asyncio.CancelledError()
        elif sent.exception() is not None:
            self._failure = sent.exception()


def _compress_fast() -> None:
    """Have aiokafka compress with `ZSTD_LEVEL`, for which it has no setting."""
    module: Any = sys.modules[DefaultRecordBatchBuilder.__module__]
    module.zstd_encode = partial(zstd_encode, level=ZSTD_LEVEL)
