"""Reorder buffer: defers a prediction that arrives before its window.

    predictions ─► EarlyPredictions ─► Processor.predictions ─► (acknowledged at a checkpoint)
                    │ ▲
                    ▼ │ after each batch of the partition's windows, and ten times a second
                   deferred, not acknowledged

After a crash, a rebalance or a replay, both topics are read from their committed offsets, at
different speeds. Where predictions arrive early, the rest of their batch is deferred, and later
batches of the partition queue up after it. So an asset's predictions are processed in their
order, each after its window, as without a crash.

Deferred predictions are not acknowledged. At a rebalance or at shutdown they are dropped, and the
next owner of the partition fetches them again from the committed offset. A rebalance waits for a
batch that is being processed, as usual. No batch is started once the flow has stopped, so nothing
is acknowledged or stored after the partition was revoked.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final, Protocol

from faust.types import TP

from millrace.infra.kafka.place import Place
from millrace.stream_processors.transport.records import Record

#: Deferred records of a partition after which its fetching is paused.
MOST_HELD: Final = 8_000

#: Processes records of a partition of `predictions` up to the first whose window has not arrived.
#: Takes the offsets of `sensor.windows` that are or were read; returns the number of records.
WorkOff = Callable[[int, Sequence[Record], range], Awaitable[int]]


def is_ahead(offset: int, windows_through: int, taken: int, readable: range) -> bool:
    """Whether a prediction must be deferred until its window has been processed.

    It is not deferred for a window that will never be read: one that expired, or whose memory is
    lost.

    Args:
        offset: Source offset of the prediction: that of its window.
        windows_through: Last window that the asset's memory includes.
        taken: Offset after the last window of the partition that was processed since its
            assignment; 0 if none was.
        readable: Offsets of windows that are or were read since then.

    Returns:
        True if the window has not been processed yet, but will be.

    Example:
        >>> is_ahead(7, windows_through=4, taken=6, readable=range(3, 9))
        True
        >>> is_ahead(7, windows_through=4, taken=8, readable=range(3, 9))
        False
    """
    return offset > windows_through and offset >= taken and offset in readable


class Flow(Protocol):
    """What `EarlyPredictions` needs of the consumer; see `BatchConsumer`."""

    flow_active: bool

    def defer(self, message: Any) -> None:
        """Exclude a message from those that a rebalance or a shutdown waits for."""

    def resume(self, message: Any) -> None:
        """Include a message again among those that a rebalance waits for."""

    def pause(self, tp: TP) -> None:
        """Pause the fetching of a partition."""

    def unpause(self, tp: TP) -> None:
        """Resume the fetching of a partition."""

    def readable(self, tp: TP, since: float) -> range:
        """Offsets of a partition that were or will be read in this assignment."""


@dataclass
class _Batch:
    """A batch: its unprocessed records and its arrival time."""

    event: Any
    rest: Sequence[Record]
    since: float


class EarlyPredictions:
    """Deferred batches of `predictions` by partition, in offset order."""

    def __init__(
        self,
        work_off: WorkOff,
        flow: Flow,
        windows: str,
        done: Callable[[Any], None],
        clock: Callable[[], float],
    ) -> None:
        """Start with none.

        Args:
            work_off: Processes records.
            flow: The consumer.
            windows: Full name of `sensor.windows`.
            done: Called with an event once all its records are processed, in the order of a
                partition.
            clock: Seconds since 1970, as the consumer counts them.
        """
        self._work_off = work_off
        self._flow = flow
        self._windows = windows
        self._done = done
        self._clock = clock
        self._batches: dict[TP, deque[_Batch]] = {}
        self._turn = asyncio.Lock()

    async def add(self, event: Any) -> None:
        """Add a batch, and process its records up to the first whose window has not arrived."""
        tp: TP = event.message.tp
        async with self._turn:
            self._flow.defer(event.message)
            batches = self._batches.setdefault(tp, deque())
            batches.append(_Batch(event, event.value, self._clock()))
            if len(batches) == 1:
                await self._drain(tp)
            if sum(len(batch.rest) for batch in batches) >= MOST_HELD:
                self._flow.pause(tp)

    async def drain(self, partition: int | None = None) -> None:
        """Process deferred predictions whose windows have arrived, of one partition or of all."""
        async with self._turn:
            for tp in list(self._batches):
                if partition in (None, tp.partition):
                    await self._drain(tp)

    @property
    def places(self) -> frozenset[Place]:
        """Partitions with deferred predictions; thread-safe."""
        return frozenset(Place(tp.topic, tp.partition) for tp in tuple(self._batches))

    def drop(self) -> None:
        """Drop all deferred predictions, because of a rebalance."""
        for tp, batches in self._batches.items():
            batches.clear()  # a drain may be iterating over it
            self._flow.unpause(tp)
        self._batches.clear()

    async def _drain(self, tp: TP) -> None:
        batches = self._batches.get(tp, deque())
        windows = TP(self._windows, tp.partition)
        while batches and self._flow.flow_active:
            batch = batches[0]
            message = batch.event.message
            self._flow.resume(message)
            readable = self._flow.readable(windows, batch.since)
            count = await self._work_off(tp.partition, batch.rest, readable)
            if not batches:
                return  # it was dropped meanwhile
            batch.rest = batch.rest[count:]
            if batch.rest:
                self._flow.defer(message)
                return
            self._done(batches.popleft().event)
            if not batches:
                self._flow.unpause(tp)
                del self._batches[tp]
            await asyncio.sleep(0)  # lets a checkpoint or the fetcher run in between
