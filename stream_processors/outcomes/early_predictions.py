"""Reorder buffer: a prediction that arrives before its window waits for the window.

    predictions ─► EarlyPredictions ─► Processor.predictions ─► (acknowledged at a checkpoint)
                    │ ▲
                    ▼ │ after each batch of the partition's windows, and ten times a second
                   deferred, not acknowledged

After a crash, a rebalance or a replay, both topics are read from their committed offsets, at
different speeds. Where predictions arrive early, the rest of their batch is deferred, and later
batches of the partition queue up after it. So an asset's predictions are processed in their
order, each after its window, as without a crash.

Deferred predictions are not acknowledged. At a rebalance or at shutdown they are dropped, and the
next owner of the partition fetches them again from the committed offset. A batch that is being
processed is waited for as usual. No batch is started once the flow has stopped, so nothing is
acknowledged or remembered after the partition was revoked.
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
    """Whether a prediction has to wait for its window.

    It does not wait for a window that will never be read: one that expired, or whose memory is
    lost.

    Args:
        offset: Source offset of the prediction: that of its window.
        windows_through: Last window that the asset's memory includes.
        taken: Offset after the last window of the partition that was processed since it was
            assigned; 0 if none was.
        readable: Offsets of windows that are or were read since then.

    Returns:
        True if the window is still to come.

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
        """Do not wait for a message at a rebalance or the end."""

    def resume(self, message: Any) -> None:
        """Wait for a message again."""

    def pause(self, tp: TP) -> None:
        """Fetch no more of a partition."""

    def unpause(self, tp: TP) -> None:
        """Fetch a partition again."""

    def readable(self, tp: TP, since: float) -> range:
        """Offsets of a partition that are or were read."""


@dataclass
class _Batch:
    """A batch, what is left of it, and when it came."""

    event: Any
    rest: Sequence[Record]
    since: float


class EarlyPredictions:
    """Batches of `predictions` by partition, in their order."""

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
            done: Takes an event when its records are all processed, in the order of a partition.
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
        """Take a batch, and process what need not wait."""
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
        """Process what need not wait any more, of one partition or of all."""
        async with self._turn:
            for tp in list(self._batches):
                if partition in (None, tp.partition):
                    await self._drain(tp)

    @property
    def places(self) -> frozenset[Place]:
        """Partitions that wait for others and not for us; may be asked from any thread."""
        return frozenset(Place(tp.topic, tp.partition) for tp in tuple(self._batches))

    def drop(self) -> None:
        """Drop everything that is deferred, because of a rebalance."""
        for tp, batches in self._batches.items():
            batches.clear()  # a drain may be at work on it
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
            await asyncio.sleep(0)  # a checkpoint, or the fetcher, need not wait for all of them
