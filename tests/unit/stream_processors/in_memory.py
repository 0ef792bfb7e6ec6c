"""A broker in memory, and the stream processor's collaborators that write to it.

What is written is there once it is confirmed; a crash may come after any single write.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

import msgspec
from aiokafka.record.memory_records import MemoryRecords

from millrace.contracts.events.dead_letter import Origin, first_origin
from millrace.contracts.events.ledger import LedgerEntry
from millrace.contracts.events.mended import Resolution
from millrace.contracts.events.model_event import ModelEvent
from millrace.contracts.events.normalized_window import NormalizedWindow
from millrace.contracts.headers import SOURCE_OFFSET, RawHeaders, header
from millrace.contracts.topics import (
    DEAD_LETTERS,
    MENDED,
    NORMALIZED,
    OUTCOMES,
    SENSOR_WINDOWS,
    SERVING_LEDGER,
    Topic,
)
from millrace.infra.kafka.model_feed import ModelFeed
from millrace.registry.state import Registry
from millrace.stream_processors.codec.packing import Content
from millrace.stream_processors.codec.record_batches import RecordBatch
from millrace.stream_processors.monitoring import DriftMonitor
from millrace.stream_processors.processor import Processor
from millrace.stream_processors.state.snapshots import Snapshots
from millrace.stream_processors.transport.lineages import Ends
from millrace.stream_processors.transport.outputs import Outputs, Written
from millrace.stream_processors.windows.letters import Letters
from tests.builders import DETECTORS, WindowRecord, prediction_of, prediction_record, pump_window

BATCH = 4
CHANGELOG = "assets-changelog"
#: Timestamp of what is written, milliseconds UTC.
AT_MS = 1_700_000_000_000


class Killed(Exception):  # noqa: N818  (nothing is wrong: the process is gone)
    """The process was killed."""


@dataclass
class Output:
    """A record of an output."""

    topic: str
    key: bytes | str | None
    value: bytes
    headers: RawHeaders
    partition: int


class ValuesInMemory:
    """An object store; or none, while it is away."""

    def __init__(self) -> None:
        self.kept: dict[str, bytes] = {}
        self.is_away = False

    async def keep(self, key: str, value: bytes) -> bool:
        """Keep a value."""
        if not self.is_away:
            self.kept[key] = value
        return not self.is_away


@dataclass
class BrokerInMemory:
    """What outlives a crash: outputs, committed offsets, the changelog, the registry's log."""

    windows: list[WindowRecord]
    events: list[ModelEvent]
    written: list[Output] = field(default_factory=list)
    changelog: dict[bytes, bytes] = field(default_factory=dict)
    committed: dict[str, int] = field(default_factory=lambda: {"windows": 0, "predictions": 0})
    values_kept: ValuesInMemory = field(default_factory=ValuesInMemory)

    def values(self, topic: Topic) -> list[bytes]:
        """Values of a topic, in order."""
        return [record.value for record in self.written if record.topic == topic.name]

    def normalised(self) -> list[NormalizedWindow]:
        """Stamped windows, in order."""
        return [
            msgspec.msgpack.decode(value, type=NormalizedWindow)
            for value in self.values(NORMALIZED)
        ]

    def ledger(self) -> list[LedgerEntry]:
        """Entries of the ledger, in order."""
        return [
            msgspec.json.decode(value, type=LedgerEntry) for value in self.values(SERVING_LEDGER)
        ]

    def dead_letters(self) -> list[Output]:
        """Dead letters, in order."""
        return [record for record in self.written if record.topic == DEAD_LETTERS.name]

    def outcome_ids(self) -> list[str]:
        """Ids of the outcomes, in order."""
        return [msgspec.json.decode(value)["id"] for value in self.values(OUTCOMES)]

    def stamped(self, partition: int) -> list[NormalizedWindow]:
        """Stamped windows of a partition, in order."""
        return [window for window in self.normalised() if window.source.partition == partition]

    def predictions(self, partition: int = 0) -> list[WindowRecord]:
        """What inference says to a partition's windows: one prediction each, in their order."""
        made = []
        for offset, window in enumerate(self.stamped(partition)):
            first = (window.start_ms - pump_window(0).start_ms) // 60_000
            prediction = prediction_of(
                pump_window(first, asset=window.asset, segment=window.segment),
                window.source.offset,
                version=window.version,
                epoch=window.epoch,
                partition=partition,
            )
            made.append(prediction_record(prediction, offset, partition))
        return made


class FeedInMemory(ModelFeed):
    """The registry as far as it has been read."""

    def __init__(self, events: list[ModelEvent], *, read: int | None = None) -> None:
        self.registry = Registry()
        self._events = events
        self._next = 0
        #: Events that `poll` delivers; `catch_up` delivers all.
        self.visible = len(events) if read is None else read
        self.poll(0)

    def poll(self, _: float) -> list[ModelEvent]:
        """Apply the events that have come."""
        return self._apply(max(self.visible, self._next))

    def catch_up(self) -> list[ModelEvent]:
        """Apply all events."""
        return self._apply(len(self._events))

    def _apply(self, end: int) -> list[ModelEvent]:
        fresh, self._next = self._events[self._next : end], end
        return [event for event in fresh if self.registry.apply(event)]


class OutputsInMemory(Outputs):
    """Writes to the broker; after some of them nothing arrives, and the process is killed.

    A killed process learns of it at its next confirmation, as a real one does at the latest:
    until then it goes on, and what it writes is lost. Each partition loses a tail of its own.
    """

    def __init__(self, broker: BrokerInMemory) -> None:
        self._broker = broker
        self._lost = False
        #: Writes that still arrive; None for all.
        self.arrive: int | None = None
        #: Topics that lose the rest; None for all of them.
        self.losing: frozenset[str] | None = None

    def write(
        self,
        topic: Topic | str,
        key: bytes | str | None,
        value: bytes,
        headers: RawHeaders,
        partition: int = 0,
    ) -> None:
        """Write, or lose it."""
        name = topic if isinstance(topic, str) else topic.name
        if self.arrive is not None:
            if self.arrive == 0 and (self.losing is None or name in self.losing):
                self._lost = True
                return
            self.arrive = max(0, self.arrive - 1)
        if name == CHANGELOG:
            assert isinstance(key, bytes)
            self._broker.changelog[key] = value
        else:
            self._broker.written.append(Output(name, key, value, headers, partition))

    def write_all(self, topic: Topic | str, records: Iterable[Content], partition: int) -> None:
        """Write them, one after the other, as they are read from a record batch."""
        batch = RecordBatch(1 << 30)
        batch.fill(records, AT_MS)
        batch.seal()
        written = MemoryRecords(bytes(batch._build())).next_batch() if batch.record_count() else ()
        for record in written or ():
            self.write(topic, record.key, record.value, list(record.headers), partition)

    async def send(self) -> None:
        """Nothing waits."""

    def written(self) -> Written:
        """Nothing waits."""
        return frozenset()

    async def confirmed(self, _: Written | None = None) -> None:
        """Be killed if something was lost."""
        if self._lost:
            raise Killed


class HistoryInMemory:
    """What the broker has of an earlier life."""

    def __init__(self, broker: BrokerInMemory) -> None:
        self._broker = broker

    def fences(self) -> Iterator[LedgerEntry]:
        """Read the ledger."""
        return iter(self._broker.ledger())

    def ends(self, partition: int) -> Ends:
        """Read the outputs and the group's offset."""
        committed = self._broker.committed["windows"] if partition == 0 else 0
        lasts = {t.name: self._last(t, partition) for t in (NORMALIZED, DEAD_LETTERS)}
        return Ends({name: last for name, last in lasts.items() if last is not None}, committed)

    def refused_since(self, partition: int, first: int) -> set[int]:
        """Read the dead letters."""
        return {
            offset
            for record in self._broker.written
            if (record.topic, record.partition) == (DEAD_LETTERS.name, partition)
            if (offset := int(header(record.headers, SOURCE_OFFSET) or -1)) >= first
        }

    def refused_first_since(self, partition: int, first: int) -> set[int]:
        """Read the dead letters that are the first of their records."""

        def is_first(record: Output, offset: int) -> bool:
            source = Origin(SENSOR_WINDOWS.name, partition, offset)
            return first_origin(record.headers, source) == source

        return {
            offset
            for record in self._broker.written
            if (record.topic, record.partition) == (DEAD_LETTERS.name, partition)
            if (offset := int(header(record.headers, SOURCE_OFFSET) or -1)) >= first
            if is_first(record, offset)
        }

    def mended(self, partition: int) -> list[Resolution]:
        """Read the notes."""
        return [
            msgspec.json.decode(record.value, type=Resolution)
            for record in self._broker.written
            if (record.topic, record.partition) == (MENDED.name, partition)
        ]

    def _last(self, topic: Topic, partition: int) -> int | None:
        offsets = [
            int(header(record.headers, SOURCE_OFFSET) or -1)
            for record in self._broker.written
            if record.topic == topic.name and record.partition == partition
        ]
        return max(offsets, default=None)


class Worker:
    """One life of the stream processor, from start to crash."""

    def __init__(self, broker: BrokerInMemory, feed: FeedInMemory | None = None) -> None:
        self.broker = broker
        self.feed = feed or FeedInMemory(broker.events)
        self.outputs = OutputsInMemory(broker)
        self.processor = Processor(
            self.feed,
            HistoryInMemory(broker),
            self.outputs,
            Snapshots(dict(broker.changelog)),
            DriftMonitor(self.feed.registry, self.outputs, DETECTORS),
            Letters(self.outputs, broker.values_kept),
        )
        self._next = dict(broker.committed)
        self._readable = range(self._next["windows"], len(broker.windows))

    async def take_windows(self, count: int = BATCH) -> bool:
        """Process a batch of windows; whether there was any."""
        return await self._take("windows", self.broker.windows, count)

    async def take_predictions(self, count: int = BATCH) -> bool:
        """Process predictions that need not wait; whether there was any."""
        return await self._take("predictions", self.broker.predictions(), count)

    def early(self) -> list[int]:
        """Source offsets of predictions that were taken before their windows."""
        live = self.processor._snapshots._live.values()
        return [answer.offset for asset in live for answer in asset.forecasts.early]

    async def checkpoint(self) -> None:
        """Confirm memory, then acknowledge."""
        included = dict(self._next)
        await self.processor.checkpoint(
            lambda key, memory, partition: self.outputs.write(CHANGELOG, key, memory, [], partition)
        )
        self.broker.committed = included

    async def drain(self) -> None:
        """Process everything that is there."""
        while await self.take_windows() or await self.take_predictions():
            pass
        await self.checkpoint()

    async def _take(self, name: str, records: Sequence[WindowRecord], count: int) -> bool:
        batch = records[self._next[name] : self._next[name] + count]
        if not batch:
            return False
        if name == "windows":
            await self.processor.windows({0: batch})
            self._next[name] += len(batch)
            return True
        taken = await self.processor.predictions(0, batch, self._readable)
        self._next[name] += taken
        return taken > 0
