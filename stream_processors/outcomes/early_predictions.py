"""Predictions that are ahead of their windows wait for them.

    predictions ─► Held ─► Processor.predictions ─► (acknowledged at the next checkpoint)
                    │ ▲
                    ▼ │ after each batch of the partition's windows, and ten times a second
              set aside, unacknowledged

After a crash, a rebalance or a replay both topics are read from their committed offsets, at
different speeds. Where predictions are ahead, their batch is set aside with what is left of it,
and later batches of its partition queue behind it; so an asset gets its predictions in their
order, each after its window, as in a life without a crash.

What is held is not acknowledged, and not waited for at a rebalance or the end: it is dropped,
and fetched again from the committed offset by whoever owns the partition then. While a batch
is worked off it is waited for as any other. None is begun once the flow has stopped, so
nothing can be acknowledged, or remembered, after the partition was given away.
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

#: Records of a partition that are held before no more of it are fetched.
MOST_HELD: Final = 8_000

#: Works off records of a partition of `predictions` as far as their windows have come; takes the
#: offsets of `sensor.windows` that are or were read, and returns how many it has worked off.
WorkOff = Callable[[int, Sequence[Record], range], Awaitable[int]]


def is_ahead(offset: int, windows_through: int, taken: int, readable: range) -> bool:
    """Whether a prediction has to wait for its window.

    A window that will not be read (it has expired, or what remembered it is lost) is not waited
    for.

    Args:
        offset: Source offset of the prediction: that of its window.
        windows_through: Last window that the asset's memory includes.
        taken: Offset after the last window of the partition that was worked off, in this life
            and ownership; 0 if none was.
        readable: Offsets of windows that are or were read, in this life and ownership.

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
            work_off: Works off records.
            flow: The consumer.
            windows: Full name of `sensor.windows`.
            done: Takes an event when its records are all worked off, in the order of a partition.
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
        """Take a batch, and work off what need not wait."""
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
        """Work off what need not wait any more, of one partition or of all."""
        async with self._turn:
            for tp in list(self._batches):
                if partition in (None, tp.partition):
                    await self._drain(tp)

    @property
    def places(self) -> frozenset[Place]:
        """Partitions that wait for others and not for us; may be asked from any thread."""
        return frozenset(Place(tp.topic, tp.partition) for tp in tuple(self._batches))

    def drop(self) -> None:
        """Forget all that is held: partitions are changing hands."""
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
