"""Writes that are confirmed by the broker before anything is acknowledged.

librdkafka's idempotent producer writes each record once and in order per partition; Faust's
own producer does neither. A failed delivery raises, and the process ends before it could
acknowledge what it has not written.
"""

from __future__ import annotations

import asyncio
from typing import Final

from confluent_kafka import KafkaError, Message, Producer

from contracts.errors import ServerError
from contracts.headers import RawHeaders
from contracts.topics import Topic
from infra.kafka import producer
from infra.settings import Settings

#: Longest wait for the broker to confirm a batch, seconds.
CONFIRM_SECONDS: Final = 30.0
#: A device may have compressed what it sent; the client judges a record's bare size.
MAX_BARE_BYTES: Final = 256 << 20
#: Let the key choose the partition.
ANY: Final = -1


class Outputs:
    """All writes of the stream processor, but for its state."""

    def __init__(self, settings: Settings) -> None:
        """Connect."""
        self._settings = settings
        self._producer: Producer = producer(settings, {"message.max.bytes": MAX_BARE_BYTES})
        self._failure: KafkaError | None = None

    def write(
        self,
        topic: Topic,
        key: bytes | str | None,
        value: bytes,
        headers: RawHeaders,
        partition: int = ANY,
    ) -> None:
        """Queue a record; `confirmed` waits for it."""
        while True:
            try:
                self._producer.produce(
                    self._settings.named(topic.name),
                    key=key,
                    value=value,
                    headers=list(headers),
                    partition=partition,
                    on_delivery=self._on_delivery,
                )
            except BufferError:  # the queue is full: let deliveries make room
                self._producer.poll(0.1)
            else:
                return

    async def confirmed(self) -> None:
        """Wait until the broker has everything that was written.

        Raises:
            ServerError: It has not; nothing that depends on it may be acknowledged.
        """
        if not len(self._producer):
            return
        left = await asyncio.to_thread(self._producer.flush, CONFIRM_SECONDS)
        if left or self._failure is not None:
            raise ServerError(
                f"{left} records were not confirmed by Kafka: {self._failure or 'no answer'}"
            )

    def _on_delivery(self, error: KafkaError | None, _: Message) -> None:
        if error is not None:
            self._failure = error
