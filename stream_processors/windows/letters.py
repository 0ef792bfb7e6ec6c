"""Dead letters of `sensor.windows`: one for each refused record, of any size.

    refused record ─► fits? ─► outputs
                         └─► object store, at most `STORE_SECONDS` ─► cut ─► outputs

A letter is written once for each record (`positions.Position.is_written`), in the order of the
records. The object store can delay it for some seconds, and after a failure is not used for
`REST_SECONDS`: while the store is unavailable, letters lose their whole values, but windows are not
delayed. Values that it did not store in time are counted, and the letter states where the value
still is.
"""

from __future__ import annotations

import asyncio
import time
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Final, Protocol

import structlog

from millrace.contracts.errors import ServerError
from millrace.contracts.events.dead_letter import (
    BATCH_FIRST_OFFSET,
    BATCH_RECORDS,
    dead_letter_headers,
)
from millrace.contracts.headers import SOURCE_OFFSET
from millrace.contracts.invalid_record import InvalidRecord
from millrace.contracts.topics import DEAD_LETTERS, SENSOR_WINDOWS
from millrace.contracts.wire.cut_letter import CutLetter, cut_letter, object_key
from millrace.contracts.wire.sizes import record_size, takes
from millrace.infra.object_store import ObjectStore
from millrace.infra.settings import Settings
from millrace.stream_processors.codec.unpacking import unread_batch
from millrace.stream_processors.metrics import CUT, DEAD
from millrace.stream_processors.transport.outputs import Outputs
from millrace.stream_processors.transport.records import Record

_log = structlog.get_logger(__name__)
#: Time limit for storing one value, seconds.
STORE_SECONDS: Final = 10.0
#: How long the store is not used after a failure, seconds.
REST_SECONDS: Final = 30.0


class Values(Protocol):
    """Storage of whole values."""

    async def keep(self, key: str, value: bytes) -> bool:
        """Store a value; returns within seconds whether it was stored."""


class StoredValues:
    """Stores values in the object store; owned by the event loop."""

    def __init__(
        self, settings: Settings, *, seconds: float = STORE_SECONDS, rest: float = REST_SECONDS
    ) -> None:
        """Create a client.

        Args:
            settings: Address of the store.
            seconds: Time limit for storing one value.
            rest: How long the store is not used after a failure.
        """
        self._store = ObjectStore(settings, seconds=seconds)
        self._seconds = seconds
        self._rest = rest
        self._thread = ThreadPoolExecutor(1, "values")
        self._late: Future[str] | None = None
        self._again = 0.0

    async def keep(self, key: str, value: bytes) -> bool:
        """Store a value; idempotent; see `Values`."""
        is_late = self._late is not None and not self._late.done()
        if is_late or time.monotonic() < self._again:
            return False
        stored = self._late = self._thread.submit(self._store.put, key, value)
        try:
            await asyncio.wait_for(asyncio.wrap_future(stored), self._seconds)
        except (ServerError, TimeoutError) as error:
            self._again = time.monotonic() + self._rest
            _log.warning(
                "the whole value of a dead letter is not kept: the object store does not take it",
                key=key,
                bytes=len(value),
                why=str(error) or f"no answer in {self._seconds:g} s",
            )
            return False
        return True


class Letters:
    """Writes dead letters; owned by the event loop."""

    def __init__(self, outputs: Outputs, values: Values) -> None:
        """Store the outputs, and the storage of whole values."""
        self._outputs = outputs
        self._values = values

    async def write(self, partition: int, record: Record, problem: InvalidRecord) -> None:
        """Write the dead letter of a record of `sensor.windows`."""
        headers = dead_letter_headers(
            list(record.headers),
            problem,
            topic=SENSOR_WINDOWS.name,
            partition=partition,
            offset=record.offset,
            timestamp_ms=record.timestamp,
        )
        headers.append((SOURCE_OFFSET, b"%d" % record.offset))
        if (batch := unread_batch(record)) is not None:
            headers.append((BATCH_FIRST_OFFSET, b"%d" % batch.first_offset))
            headers.append((BATCH_RECORDS, b"%d" % batch.count))
        letter = CutLetter(record.key, record.value or b"", headers)
        if not takes(DEAD_LETTERS, record_size(*letter)):
            name = object_key(SENSOR_WINDOWS.name, partition, record.offset)
            is_kept = await self._values.keep(name, letter.value)
            letter = cut_letter(*letter, name if is_kept else None)
            CUT.labels("object store" if is_kept else "source topic").inc()
        self._outputs.write(DEAD_LETTERS, *letter, partition)
        DEAD.labels(problem.reason).inc()
