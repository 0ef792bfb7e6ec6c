"""Predictions that are ahead: what waits, in which order it goes on, and what is acknowledged."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest
from faust.types import TP

from millrace.infra.kafka.place import Place
from millrace.stream_processors.outcomes.early_predictions import (
    MOST_HELD,
    EarlyPredictions,
    is_ahead,
)
from millrace.stream_processors.transport.records import Record
from tests.builders import WindowRecord

WINDOWS = "sensor.windows"
READABLE = range(10, 20)


@pytest.mark.parametrize(
    ("offset", "windows_through", "taken", "ahead"),
    [
        (15, 14, 15, True),
        (15, -1, 0, True),
        (15, 15, 0, False),  # the memory includes its window: it was taken in an earlier life
        (15, 14, 16, False),  # its window came again, and was none of the asset's
        (9, -1, 0, False),  # its window is before what is read: it has expired
        (20, 14, 15, False),  # its window is lost
    ],
)
def test_a_prediction_is_ahead_while_its_window_is_to_come(
    offset: int, windows_through: int, taken: int, *, ahead: bool
) -> None:
    """Neither in memory, nor processed, and among what is read."""
    assert is_ahead(offset, windows_through, taken, READABLE) is ahead


@dataclass
class Message:
    """A message of a partition."""

    tp: TP


@dataclass
class Event:
    """An event that carries a batch."""

    value: list[WindowRecord]
    message: Message


def batch(*offsets: int, partition: int = 0) -> Event:
    """A batch of predictions."""
    records = [WindowRecord(b"p", b"pump-1", offset) for offset in offsets]
    return Event(records, Message(TP("predictions", partition)))


@dataclass
class FlowInMemory:
    """The consumer, which notes what it is told."""

    flow_active: bool = True
    aside: list[Message] = field(default_factory=list)
    back: set[TP] = field(default_factory=set)
    asked: list[tuple[TP, float]] = field(default_factory=list)

    def defer(self, message: Message) -> None:
        """Wait for it no more."""
        self.aside.append(message)

    def resume(self, message: Message) -> None:
        """Wait for it."""
        self.aside.remove(message)

    def pause(self, tp: TP) -> None:
        """Fetch no more."""
        self.back.add(tp)

    def unpause(self, tp: TP) -> None:
        """Fetch again."""
        self.back.discard(tp)

    def readable(self, tp: TP, since: float) -> range:
        """All that is."""
        self.asked.append((tp, since))
        return READABLE


class Story:
    """Held batches; a record is ahead while its offset is not before ``through``."""

    def __init__(self) -> None:
        self.through = 0
        self.processed: list[tuple[int, int]] = []
        self.done: list[Any] = []
        self.flow = FlowInMemory()
        self.gate = asyncio.Event()
        self.gate.set()
        self.at_work = 0
        self.early = EarlyPredictions(
            self.work_off, self.flow, WINDOWS, self.done.append, lambda: 7.0
        )

    async def work_off(self, partition: int, records: Sequence[Record], readable: range) -> int:
        """Process what is not ahead."""
        assert readable == READABLE
        self.at_work += 1
        assert self.at_work == 1
        await self.gate.wait()
        self.at_work -= 1
        free = [record.offset for record in records if record.offset < self.through]
        self.processed += [(partition, offset) for offset in free]
        return len(free)


def test_what_is_not_ahead_is_processed_at_once() -> None:
    """Live, nothing is held."""

    async def run() -> None:
        story = Story()
        story.through = 9
        event = batch(1, 2)
        await story.early.add(event)
        assert story.processed == [(0, 1), (0, 2)]
        assert story.done == [event]
        assert story.flow.aside == []
        assert story.flow.asked == [(TP(WINDOWS, 0), 7.0)]

    asyncio.run(run())


def test_order_holds_and_a_batch_is_done_when_all_of_it_is() -> None:
    """Later batches queue behind one that waits; other partitions do not."""

    async def run() -> None:
        story = Story()
        story.through = 2
        first, second, other = batch(1, 2), batch(0, 3), batch(1, partition=1)
        for event in (first, second, other):
            await story.early.add(event)
        assert story.processed == [(0, 1), (1, 1)]
        assert story.done == [other]
        assert story.flow.aside == [second.message, first.message]
        story.through = 3
        await story.early.drain(1)
        assert story.done == [other]
        assert story.early.places == {Place("predictions", 0)}
        await story.early.drain(0)
        assert story.done == [other, first]
        assert story.flow.aside == [second.message]
        story.through = 4
        await story.early.drain()
        assert story.done == [other, first, second]
        assert story.processed == [(0, 1), (1, 1), (0, 2), (0, 0), (0, 3)]
        assert story.flow.aside == []
        assert story.early.places == frozenset()

    asyncio.run(run())


def test_a_partition_with_much_held_is_not_fetched_until_it_is_drained() -> None:
    """Memory is bounded, and the partition comes back."""

    async def run() -> None:
        story = Story()
        half = MOST_HELD // 2
        await story.early.add(batch(*range(half)))
        assert story.flow.back == set()
        await story.early.add(batch(*range(half, MOST_HELD)))
        assert story.flow.back == {TP("predictions", 0)}
        story.through = MOST_HELD - 1
        await story.early.drain(0)
        assert story.flow.back == {TP("predictions", 0)}
        story.through = MOST_HELD
        await story.early.drain(0)
        assert story.flow.back == set()
        assert len(story.done) == 2

    asyncio.run(run())


def test_others_get_a_turn_between_two_batches() -> None:
    """Much may come free at once: a checkpoint, or the fetcher, does not wait for all of it."""

    async def run() -> None:
        story = Story()
        for offset in range(3):
            await story.early.add(batch(offset))
        story.through = 3
        seen: list[int] = []
        draining = asyncio.create_task(story.early.drain(0))
        while not draining.done():
            await asyncio.sleep(0)
            seen.append(len(story.done))
        assert {1, 2, 3} <= set(seen)

    asyncio.run(run())


def test_a_rebalance_drops_everything() -> None:
    """Nothing of it is processed or acknowledged, nor is the partition left behind."""

    async def run() -> None:
        story = Story()
        for offset in range(2):
            await story.early.add(batch(*range(offset, offset + MOST_HELD)))
        assert story.flow.back == {TP("predictions", 0)}
        story.early.drop()
        assert story.flow.back == set()
        story.through = 99
        await story.early.drain()
        assert (story.processed, story.done) == ([], [])

    asyncio.run(run())


def test_what_is_at_work_when_everything_is_dropped_is_not_acknowledged() -> None:
    """The drain finds that its batch is gone, and goes no further."""

    async def run() -> None:
        story = Story()
        story.through = 99
        story.gate.clear()
        adding = asyncio.create_task(story.early.add(batch(1)))
        await asyncio.sleep(0)
        story.early.drop()
        story.gate.set()
        await adding
        assert story.done == []

    asyncio.run(run())


def test_nothing_is_begun_once_the_flow_has_stopped() -> None:
    """A rebalance does not wait for it: its end could come after the partition was given away."""

    async def run() -> None:
        story = Story()
        story.through = 99
        story.flow.flow_active = False
        event = batch(1)
        await story.early.add(event)
        await story.early.drain()
        assert story.processed == []
        assert story.flow.aside == [event.message]

    asyncio.run(run())


def test_drains_take_turns() -> None:
    """Who processes and who looks after idle partitions do not meet in one batch."""

    async def run() -> None:
        story = Story()
        await story.early.add(batch(1))
        story.through = 2
        story.gate.clear()
        drains = [asyncio.create_task(story.early.drain()) for _ in range(2)]
        await asyncio.sleep(0)
        story.gate.set()
        await asyncio.gather(*drains)
        assert story.processed == [(0, 1)]
        assert len(story.done) == 1

    asyncio.run(run())
