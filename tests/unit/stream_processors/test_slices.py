"""Records of several partitions that are processed together are what they are alone."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from unittest.mock import patch

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from millrace.contracts.events.dead_letter import OFFSET, Origin, headers_again
from millrace.contracts.events.model_event import ModelEvent
from millrace.contracts.headers import SOURCE_OFFSET, header
from millrace.contracts.topics import DEAD_LETTERS, SENSOR_WINDOWS
from millrace.producers.sources.defects import REASONS, make_bad
from millrace.registry.decisions import declare
from millrace.stream_processors import processor
from millrace.stream_processors.state.asset import state_digest
from millrace.stream_processors.windows.slices import batches
from tests.builders import (
    AT,
    WindowRecord,
    activated,
    approved,
    pump_spec,
    pump_window,
    registered,
    window_record,
)
from tests.unit.stream_processors.in_memory import BrokerInMemory, FeedInMemory, Output, Worker

PARTITIONS = 3
Records = dict[int, list[WindowRecord]]


@given(
    st.dictionaries(st.integers(0, 9), st.lists(st.integers(), min_size=1)),
    st.integers(min_value=1, max_value=7),
)
def test_batches_hold_everything_in_its_order(found: dict[int, list[int]], most: int) -> None:
    """All but the last are full, and each part says where its partition's records are."""
    cut = list(batches(found, most))  # type: ignore[arg-type]  # numbers do for records
    assert [len(batch.records) for batch in cut[:-1]] == [most] * (len(cut) - 1)
    seen: dict[int, list[object]] = {}
    for batch in cut:
        assert [row for part in batch.parts for row in part.rows] == list(range(len(batch.records)))
        assert len({part.partition for part in batch.parts}) == len(batch.parts)
        for part in batch.parts:
            here = batch.records[part.rows.start : part.rows.stop]
            seen.setdefault(part.partition, []).extend(here)
    assert seen == found


@dataclass
class Line:
    """What one partition is sent."""

    partition: int
    offset: int = 0
    place: dict[str, int] = field(default_factory=lambda: {"pump-1": 0, "pump-2": 0})
    bad: list[int] = field(default_factory=list)

    def record(self, kind: str, asset: str, reason: str) -> WindowRecord:
        """Make the next record: ``good``, one that comes ``twice``, ``bad``, or ``mended``."""
        offset, self.offset = self.offset, self.offset + 1
        if kind == "bad":
            self.bad.append(offset)
            made = make_bad(pump_window(3 * offset), reason, np.random.default_rng(offset))
            return WindowRecord(
                made.value, made.key, offset, headers=made.headers, partition=self.partition
            )
        self.place[asset] += kind != "twice"
        record = window_record(
            pump_window(3 * self.place[asset], asset=asset), offset, self.partition
        )
        if kind == "mended" and self.bad:
            origin = Origin(SENSOR_WINDOWS.name, self.partition, self.bad[-1])
            record.headers = headers_again(record.headers, origin)
        return record


Step = Records | str


@st.composite
def stories(draw: st.DrawFn) -> list[Step]:
    """Steps: records of some partitions, a ``swap``, a ``checkpoint``, or a ``crash``."""
    lines = [Line(partition) for partition in range(PARTITIONS)]
    kinds = st.sampled_from(["good"] * 4 + ["twice", "bad", "mended"])
    steps: list[Step] = []
    for _ in range(draw(st.integers(1, 6))):
        steps += draw(st.lists(st.sampled_from(["swap", "checkpoint", "crash"]), max_size=1))
        found: Records = {}
        for line in draw(st.lists(st.sampled_from(lines), unique_by=lambda one: one.partition)):
            found[line.partition] = [
                line.record(kind, draw(st.sampled_from(list(line.place))), reason)
                for kind, reason in draw(
                    st.lists(st.tuples(kinds, st.sampled_from(REASONS)), min_size=1, max_size=5)
                )
            ]
        steps.append(found)
    return [*steps, "checkpoint"]


class Teller:
    """Works a story off, with the predictions after each step."""

    def __init__(self, *, together: bool) -> None:
        """Start where nothing is known of the model yet."""
        self._together = together
        self._events: list[ModelEvent] = declare(pump_spec(), AT)
        self.broker = BrokerInMemory([], self._events)
        self._worker = Worker(self.broker, FeedInMemory(self._events, read=0))
        self._version = 0
        self._predicted = dict.fromkeys(range(PARTITIONS), 0)
        self._safe = dict(self._predicted)
        self._unsafe: Records = {}

    async def tell(self, steps: Sequence[Step]) -> BrokerInMemory:
        """Go through the steps; what is on the broker then."""
        for step in steps:
            match step:
                case "swap":
                    number = self._version = self._version + 1
                    self._events += [
                        registered(number),
                        approved(number),
                        activated(number, 1 + number),
                    ]
                    self._worker.feed.visible = len(self._events)
                case "checkpoint":
                    await self._worker.checkpoint()
                    self._safe, self._unsafe = dict(self._predicted), {}
                case "crash":
                    self._worker = Worker(self.broker, FeedInMemory(self._events))
                    self._predicted = dict(self._safe)
                    await self._take(self._unsafe)
                case dict():
                    for partition, records in step.items():
                        self._unsafe[partition] = [*self._unsafe.get(partition, []), *records]
                    await self._take(step)
        return self.broker

    async def _take(self, found: Records) -> None:
        if self._together and found:
            await self._worker.processor.windows(found)
        elif found:
            for partition, records in found.items():
                await self._worker.processor.windows({partition: records})
        for partition in range(PARTITIONS):
            predictions = self.broker.predictions(partition)
            fresh = predictions[self._predicted[partition] :]
            self._predicted[partition] = len(predictions)
            processor = self._worker.processor
            done = await processor.predictions(partition, fresh, range(1 << 40))
            assert done == len(fresh)


def effects(broker: BrokerInMemory) -> object:
    """All that is written, but for the wall clock; by partition where there are several."""
    ids = [
        [header(record.headers, "ce_id") for record in broker.written if where(record) == place]
        for place in sorted({where(record) for record in broker.written})
    ]
    letters = [
        (record.partition, header(record.headers, OFFSET), header(record.headers, SOURCE_OFFSET))
        for record in broker.written
        if record.topic == DEAD_LETTERS.name
    ]
    fences = {(e.partition, e.epoch, e.version, e.first_offset) for e in broker.ledger()}
    memory = {key: state_digest(value) for key, value in broker.changelog.items()}
    windows = [broker.stamped(partition) for partition in range(PARTITIONS)]
    return ids, sorted(letters), fences, memory, windows


def where(record: Output) -> tuple[str, int]:
    """Topic and partition of an output."""
    return record.topic, record.partition


@settings(max_examples=150)
@given(stories(), st.integers(1, 9))
def test_partitions_together_are_what_they_are_alone(steps: list[Step], most: int) -> None:
    """Also over crashes and swaps, where an asset comes in two partitions, and cut anywhere."""
    with patch.object(processor, "BLOCK_RECORDS", most):
        together = asyncio.run(Teller(together=True).tell(steps))
    alone = asyncio.run(Teller(together=False).tell(steps))
    assert effects(together) == effects(alone)
