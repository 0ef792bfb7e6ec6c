"""Writes and their confirmation: what waits for what, in which order it leaves, what fails."""

import asyncio
import random
import threading
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from typing import Any

import msgspec
import pytest
from aiokafka.errors import KafkaTimeoutError
from aiokafka.record.memory_records import MemoryRecords
from hypothesis import given
from hypothesis import strategies as st

from millrace.contracts.errors import ServerError
from millrace.contracts.events.dead_letter import REASON, TOPIC
from millrace.contracts.events.normalized_window import NormalizedWindow
from millrace.contracts.headers import SOURCE_OFFSET, header
from millrace.contracts.topics import NORMALIZED, OUTCOMES
from millrace.contracts.wire.cut_letter import cut_of
from millrace.contracts.wire.sizes import record_size
from millrace.infra.settings import Settings
from millrace.stream_processors.codec.packing import in_msgpack, packed_headers
from millrace.stream_processors.codec.record_batches import RecordBatch
from millrace.stream_processors.transport.outputs import LARGE_BYTES, MOST_WAITING, Outputs
from tests.builders import pump_window, stamped_window

SMALL = 2048
#: Larger than what is compressed on the event loop.
LARGE = b"x" * (LARGE_BYTES + 1)


class ProducerInMemory:
    """A producer whose broker confirms when it is told to; it takes one batch at a time."""

    def __init__(self) -> None:
        self.sent: list[tuple[str, int, int]] = []
        self.batches: list[RecordBatch] = []
        self.pending: list[asyncio.Future[None]] = []
        self.taking = asyncio.Event()
        self.taking.set()
        self.refusing = False

    async def send_batch(self, batch: RecordBatch, topic: str, *, partition: int) -> Any:
        """Take a batch; the future tells of its confirmation."""
        await self.taking.wait()
        if self.refusing:
            raise KafkaTimeoutError
        self.sent.append((topic, partition, batch.record_count()))
        self.batches.append(batch)
        self.pending.append(asyncio.get_running_loop().create_future())
        return self.pending[-1]

    async def stop(self) -> None:
        """Take no more."""
        self.refusing = True

    def confirm(self) -> None:
        """Confirm all that was taken."""
        for future in self.pending:
            if not future.done():
                future.set_result(None)


def outputs(producer: ProducerInMemory) -> Outputs:
    """Outputs over a producer in memory."""
    made: Any = producer
    return Outputs(Settings.read(namespace="t"), made, lambda: None, SMALL)


def run(story: Coroutine[Any, Any, None]) -> None:
    """Run a story; one that hangs fails."""
    asyncio.run(asyncio.wait_for(story, 5))


async def settle() -> None:
    """Let everything go as far as it can."""
    for _ in range(20):
        await asyncio.sleep(0)


async def drained(out: Outputs) -> None:
    """Wait until everything has been handed to the producer, or given up."""
    if out._senders:
        await asyncio.wait(out._senders.values())


def test_records_of_a_partition_leave_together() -> None:
    """One send per partition, under the topic's full name."""

    async def story() -> None:
        producer = ProducerInMemory()
        out = outputs(producer)
        for partition in (0, 1, 0):
            out.write(NORMALIZED, "pump-1", b"x", [], partition)
        await out.send()
        await settle()
        assert sorted(producer.sent) == [
            ("t.sensor.windows.normalized", 0, 2),
            ("t.sensor.windows.normalized", 1, 1),
        ]

    run(story())


def test_a_record_leaves_as_it_was_written() -> None:
    """With its key, text or bytes or none, and its headers, of which one may be null."""
    written: list[tuple[bytes | str | None, bytes, Any]] = [
        ("pump-1", b"x", [("ce_id", b"w-1"), ("ce_id", None)]),
        (b"pump-2", b"", []),
        (None, b"y", [("n", b"")]),
    ]

    async def story() -> None:
        producer = ProducerInMemory()
        out = outputs(producer)
        for key, value, headers in written:
            out.write(OUTCOMES, key, value, headers)
        await out.send()
        await settle()
        [batch] = producer.batches
        found = MemoryRecords(bytes(batch._build())).next_batch()
        assert [(record.key, record.value, list(record.headers)) for record in found] == [
            (key.encode() if isinstance(key, str) else key, value, headers)
            for key, value, headers in written
        ]

    run(story())


@given(st.lists(st.integers(0, SMALL), max_size=12))
def test_windows_that_are_encoded_into_one_buffer_leave_as_they_are(sizes: list[int]) -> None:
    """However many batches they need, and wherever one ends; without any there is no batch."""
    windows = [
        msgspec.structs.replace(stamped_window(pump_window(n), n), values=bytes([n]) * size)
        for n, size in enumerate(sizes)
    ]

    async def story() -> None:
        producer = ProducerInMemory()
        out = outputs(producer)
        packed = packed_headers([])
        out.write_all(NORMALIZED, in_msgpack((b"pump-1", w, packed) for w in windows), 0)
        await out.send()
        await drained(out)
        found = [
            msgspec.msgpack.decode(record.value, type=NormalizedWindow)
            for batch in producer.batches
            for record in MemoryRecords(bytes(batch._build())).next_batch() or ()
            if record.value is not None
        ]
        assert found == windows
        assert len(producer.batches) <= max(1, len(windows))
        assert bool(producer.batches) == bool(windows)
        producer.confirm()

    run(story())


def test_nobody_waits_for_a_slow_broker_but_who_asks() -> None:
    """While a batch is under way the next one grows; they leave in their order."""

    async def story() -> None:
        producer = ProducerInMemory()
        producer.taking.clear()
        out = outputs(producer)
        for number in range(6):
            out.write(OUTCOMES, b"k", b"%d" % number, [])
            await out.send()
            await settle()
        producer.taking.set()
        await settle()
        assert [count for _, _, count in producer.sent] == [1, 5]

    run(story())


def test_confirmation_covers_what_was_written_and_nothing_later() -> None:
    """It ends when the broker has those records, however much is written meanwhile."""

    async def story() -> None:
        producer = ProducerInMemory()
        out = outputs(producer)
        out.write(NORMALIZED, b"k", b"x", [])
        confirmed = asyncio.ensure_future(out.confirmed())
        await settle()
        assert not confirmed.done()
        out.write(OUTCOMES, b"k", b"later", [])
        producer.confirm()
        await confirmed
        assert len(producer.sent) == 1
        assert len(out.written()) == 1

    run(story())


def test_what_was_written_before_can_be_waited_for_later() -> None:
    """A checkpoint waits for the outputs of its moment, though others were written since."""

    async def story() -> None:
        producer = ProducerInMemory()
        out = outputs(producer)
        out.write(NORMALIZED, b"k", b"x", [])
        await out.send()
        await settle()
        before = out.written()
        producer.confirm()
        out.write(NORMALIZED, b"k", b"y", [])
        await out.confirmed(before)
        await settle()
        assert [future.done() for future in producer.pending] == [True, False]

    run(story())


def test_a_full_batch_makes_room_for_another() -> None:
    """Many records are several batches, in order, each within its size; a large one is alone."""

    async def story() -> None:
        producer = ProducerInMemory()
        out = outputs(producer)
        for _ in range(10):
            out.write(NORMALIZED, b"k", b"x" * 500, [])
        out.write(NORMALIZED, b"k", b"x" * 3 * SMALL, [])
        await out.send()
        await settle()
        counts = [count for _, _, count in producer.sent]
        assert sum(counts) == 11
        assert max(counts[:-1]) <= 4
        assert counts[-1] == 1

    run(story())


@pytest.mark.parametrize("refused", [True, False])
def test_a_failed_delivery_is_told_for_ever(*, refused: bool) -> None:
    """Whether the producer refuses or the broker never answers: nothing is confirmed any more."""

    async def story() -> None:
        producer = ProducerInMemory()
        producer.refusing = refused
        out = outputs(producer)
        out.write(NORMALIZED, b"k", b"x", [])
        await out.send()
        await settle()
        if not refused:
            producer.pending[0].set_exception(KafkaTimeoutError())
        for _ in range(2):
            with pytest.raises(ServerError, match="not confirmed"):
                await out.confirmed()

    run(story())


def test_nothing_leaves_after_what_could_not() -> None:
    """Else the last record of an output would hide that those before it are missing."""

    async def story() -> None:
        producer = ProducerInMemory()
        producer.taking.clear()
        told: list[BaseException] = []
        made: Any = producer
        out = Outputs(Settings.read(namespace="t"), made, lambda: None, SMALL, told.append)
        out.write(NORMALIZED, b"k", b"first", [])
        await out.send()
        await settle()
        out.write(NORMALIZED, b"k", b"second", [])
        producer.refusing = True
        producer.taking.set()
        await settle()
        producer.refusing = False
        assert [type(failure) for failure in told] == [KafkaTimeoutError]
        with pytest.raises(ServerError, match="not confirmed"):
            await out.send()
        with pytest.raises(ServerError, match="not confirmed"):
            await out.confirmed()
        await settle()
        assert producer.sent == []

    run(story())


def test_very_much_that_waits_holds_the_writer_up() -> None:
    """Memory is bounded: `send` returns when the broker has taken some."""

    async def story() -> None:
        producer = ProducerInMemory()
        producer.taking.clear()
        out = outputs(producer)
        for _ in range(MOST_WAITING + 2):
            out.write(NORMALIZED, b"k", b"x" * 2 * SMALL, [])
        held = asyncio.ensure_future(out.send())
        await settle()
        assert not held.done()
        out.write(OUTCOMES, b"k", b"another place, meanwhile", [])
        producer.taking.set()
        await settle()
        producer.confirm()
        await held

    run(story())


def test_who_may_not_write_any_more_writes_nothing() -> None:
    """The check comes before anything leaves, and what it raises stops it."""

    class GoneError(Exception):
        """In place of the end of the process."""

    def gone() -> None:
        raise GoneError

    async def story() -> None:
        producer: Any = ProducerInMemory()
        told: list[BaseException] = []
        out = Outputs(Settings.read(namespace="t"), producer, gone, fail=told.append)
        out.write(NORMALIZED, b"k", b"x", [])
        with pytest.raises(ServerError, match="GoneError"):
            await out.confirmed()
        assert [type(failure) for failure in told] == [GoneError]
        assert producer.sent == []

    run(story())


# Compression beside the event loop


@asynccontextmanager
async def compressing(out: Outputs) -> AsyncIterator[None]:
    """A large batch is being compressed for as long as the block takes: its thread is busy."""
    free = threading.Event()
    out._sealer.submit(free.wait)
    out.write(NORMALIZED, b"k", LARGE, [])
    await out.send()
    await settle()
    try:
        yield
    finally:
        free.set()


def test_what_comes_while_a_batch_is_compressed_leaves_after_it() -> None:
    """Nothing is added to a batch that is being compressed, and it is not overtaken."""

    async def story() -> None:
        producer = ProducerInMemory()
        out = outputs(producer)
        async with compressing(out):
            for _ in range(3):
                out.write(NORMALIZED, b"k", b"small", [])
            await out.send()
            await settle()
            assert producer.sent == []
        await drained(out)
        assert [count for _, _, count in producer.sent] == [1, 3]

    run(story())


def test_a_batch_that_cannot_be_compressed_is_told() -> None:
    """Nothing waits for it for ever, and nothing leaves after it."""

    async def story() -> None:
        producer: Any = ProducerInMemory()
        told: list[BaseException] = []
        out = Outputs(Settings.read(namespace="t"), producer, lambda: None, fail=told.append)
        out._sealer.shutdown()
        out.write(NORMALIZED, b"k", LARGE, [])
        with pytest.raises(ServerError, match="not confirmed"):
            await out.confirmed()
        assert [type(failure) for failure in told] == [RuntimeError]
        out.write(NORMALIZED, b"k", b"small", [])
        with pytest.raises(ServerError, match="not confirmed"):
            await out.send()
        await settle()
        assert producer.sent == []

    run(story())


def test_what_is_being_compressed_does_not_leave_after_a_failure() -> None:
    """A batch of another partition has failed meanwhile."""

    async def story() -> None:
        producer = ProducerInMemory()
        out = outputs(producer)
        async with compressing(out):
            out.write(OUTCOMES, b"k", b"small", [])
            producer.refusing = True
            await out.send()
            await settle()
            producer.refusing = False
        with pytest.raises(ServerError, match="not confirmed"):
            await out.confirmed()
        await drained(out)
        assert producer.sent == []

    run(story())


def test_the_end_waits_for_what_is_being_compressed() -> None:
    """It is sent before the producer stops."""

    async def story() -> None:
        producer = ProducerInMemory()
        out = outputs(producer)
        async with compressing(out):
            closing = asyncio.ensure_future(out.close())
            await settle()
            assert not closing.done()
            assert not producer.refusing
        await closing
        assert [count for _, _, count in producer.sent] == [1]

    run(story())


def test_an_event_that_its_topic_would_not_take_becomes_a_dead_letter() -> None:
    """It names the topic and both sizes, is cut, and says of no source that it was refused."""

    async def story() -> None:
        producer = ProducerInMemory()
        out = outputs(producer)
        out.write(OUTCOMES, "pump-1", b"x", [("ce_id", b"o-0")], 2)
        out.write(OUTCOMES, "pump-1", b"y" * OUTCOMES.max_bytes, [("ce_id", b"o-1")], 2)
        await out.send()
        await drained(out)
        assert [(topic, place) for topic, place, _ in producer.sent] == [
            ("t.outcomes", 2),
            ("t.dead.letters", 2),
        ]
        (letter,) = MemoryRecords(bytes(producer.batches[1]._build())).next_batch()
        headers = list(letter.headers)
        assert header(headers, REASON) == "oversized_output"
        assert header(headers, TOPIC) == OUTCOMES.name
        assert header(headers, SOURCE_OFFSET) is None
        cut = cut_of(headers)
        assert cut is not None
        assert cut.size == OUTCOMES.max_bytes
        assert len(letter.value) < cut.size

    run(story())


def test_the_largest_event_that_fits_leaves_alone() -> None:
    """In a batch that the broker takes, also if it cannot be compressed."""

    async def story() -> None:
        producer = ProducerInMemory()
        out = outputs(producer)
        key, headers = b"pump-1", [("ce_id", b"o-0")]
        room = OUTCOMES.max_bytes - record_size(key, b"", headers)
        out.write(OUTCOMES, key, random.Random(1).randbytes(room), headers)
        await out.send()
        await drained(out)
        assert [topic for topic, _, _ in producer.sent] == ["t.outcomes"]
        assert producer.batches[0].size() <= OUTCOMES.max_bytes

    run(story())
