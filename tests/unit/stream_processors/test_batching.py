"""Faust at batch granularity: what is delivered, and what an acknowledgement commits."""

import asyncio
from dataclasses import dataclass
from functools import partial
from typing import Any, cast

from faust.types import TP
from faust.types.tuples import ConsumerMessage
from mode import Service

from millrace.contracts.clock import event_time
from millrace.contracts.events.topic_epoch import PER_INCARNATION, Lineage, TopicEpoch
from millrace.stream_processors.transport.batching import (
    FULL_SECONDS,
    MANY_RECORDS,
    BatchApp,
    BatchConsumer,
)
from millrace.stream_processors.transport.leader_epochs import LeaderEpochs
from millrace.stream_processors.transport.lineages import Lineages

WINDOWS = TP("sensor.windows", 0)
PREDICTIONS = TP("predictions", 1)


@dataclass
class Fetched:
    """A record as aiokafka hands it over."""

    offset: int
    topic: str = "sensor.windows"
    partition: int = 0
    timestamp: int = 1000
    timestamp_type: int = 0
    key: bytes = b"pump-1"
    value: bytes = b"x"
    headers: tuple[tuple[str, bytes], ...] = ()
    checksum: None = None
    serialized_key_size: int = 6
    serialized_value_size: int = 1


class ThreadInMemory(Service):
    """The thread that fetches, which notes what it is asked for."""

    asked: list[set[TP]]
    patience: list[float]
    found: dict[TP, list[Any]]
    places: dict[TP, tuple[int | None, int | None, float]]
    epochs: LeaderEpochs

    def place_of(self, tp: TP) -> tuple[int | None, int | None, float]:
        """What is given."""
        return self.places.get(tp, (None, None, 0.0))

    async def getmany(self, partitions: set[TP], timeout: float) -> dict[TP, list[Any]]:
        """Fetch what is given."""
        self.asked.append(partitions)
        self.patience.append(timeout)
        return self.found


class LineagesInMemory:
    """Lineages that are given, which note what they are asked for."""

    def __init__(self) -> None:
        self.lineage = Lineage()
        self.asked: list[tuple[object, ...]] = []

    def of(self, _: TP) -> Lineage:
        """What is given."""
        return self.lineage

    def starts(self) -> dict[TP, int]:
        """Everything is read from where it was committed."""
        return {}

    async def check(self, *what: object) -> None:
        """Take note."""
        self.asked.append(("check", *what))

    async def expired(self, *what: object) -> None:
        """Take note."""
        self.asked.append(("expired", *what))

    async def follow(self, *what: object) -> None:
        """Take note."""
        self.asked.append(("follow", *what))


class PollsInMemory(BatchConsumer):
    """A consumer whose next poll is given."""

    poll: dict[TP, list[Any]]

    def _new_consumer_thread(self) -> Any:
        """No thread, and so no connection."""
        thread = ThreadInMemory(beacon=self.beacon)
        thread.asked, thread.patience, thread.found, thread.places = [], [], {}, {}
        thread.epochs = LeaderEpochs()
        return thread

    async def _wait_next_records(self, _: float) -> tuple[Any, Any]:
        return self.poll, set(self.poll)

    def highwater(self, _: TP) -> int:
        """End of a partition."""
        return 100


def consumer(poll: dict[TP, list[Any]] | None = None) -> PollsInMemory:
    """Build a consumer that never connects."""
    app = BatchApp("test", broker="kafka://127.0.0.1:1", store="memory://", web_enabled=False)
    app.Table("assets", partitions=1)
    app.lineages = cast(Lineages, LineagesInMemory())

    async def ignore(*_: Any) -> None:
        return None

    made = PollsInMemory(
        app.transport,
        callback=ignore,
        on_partitions_revoked=ignore,
        on_partitions_assigned=ignore,
    )
    made.flow_active = True
    made.poll = poll or {}
    return made


async def deliver(reader: PollsInMemory, most: int = 99) -> list[tuple[TP, Any]]:
    """What a poll delivers; the group moves on after some messages."""
    found = []
    async for tp, message in reader.getmany(0.1):
        found.append((tp, message))
        if len(found) == most:
            reader.app.consumer_generation_id += 1
    return found


def test_a_poll_is_one_message_per_partition() -> None:
    """Its value is the partition's records, its offset the last one's, its generation ours."""
    records = {WINDOWS: [Fetched(5), Fetched(6), Fetched(9)], PREDICTIONS: [Fetched(2)]}

    async def run() -> None:
        reader = consumer(records)
        reader.app.consumer_generation_id = 7
        delivered = dict(await deliver(reader))
        assert {tp: message.value for tp, message in delivered.items()} == records
        assert {tp: message.offset for tp, message in delivered.items()} == {
            WINDOWS: 9,
            PREDICTIONS: 2,
        }
        assert {message.generation_id for message in delivered.values()} == {7}

    asyncio.run(run())


def test_nothing_is_delivered_after_the_group_has_moved_on() -> None:
    """What was fetched for an earlier generation is left to whoever owns the partition now."""

    async def run() -> None:
        reader = consumer({WINDOWS: [Fetched(1)], PREDICTIONS: [Fetched(1)]})
        assert [tp for tp, _ in await deliver(reader, most=1)] == [WINDOWS]

    asyncio.run(run())


def test_changelogs_are_delivered_in_batches_too() -> None:
    """At the place of the last record: recovery ends with the batch that reaches the end."""

    async def run() -> None:
        reader = consumer()
        (topic,) = reader.app.tables.changelog_topics
        reader.poll = {TP(topic, 0): [Fetched(1, topic), Fetched(2, topic)]}
        ((_, message),) = await deliver(reader)
        assert message.offset == 2
        assert message.value == reader.poll[TP(topic, 0)]

    asyncio.run(run())


def test_offsets_without_records_at_a_changelogs_end_are_delivered_without_records() -> None:
    """Recovery waits for the last offset, be it a marker's or removed by compaction; once."""

    async def run() -> None:
        reader = consumer()
        (topic,) = reader.app.tables.changelog_topics
        changelog = TP(topic, 0)
        thread: Any = reader._thread
        reader.app.rebalancing = True
        reader.poll = {changelog: []}
        reader._read_offset[changelog] = 2
        for position, delivered in [(None, []), (3, []), (5, [4])]:
            thread.places = {changelog: (position, 5, 0.0)}
            found = reader._without_records({changelog, WINDOWS})
            assert [offset for _, offset in found] == delivered
        reader._read_offset[changelog] = 4
        assert not reader._without_records({changelog})
        reader._read_offset[changelog] = None
        thread.places = {changelog: (0, 0, 0.0)}
        assert not reader._without_records({changelog}), "an empty changelog"
        thread.places = {changelog: (1, 1, 0.0)}
        assert reader._without_records({changelog}) == [(changelog, 0)]
        reader.app.rebalancing = False
        assert not reader._without_records({changelog})

    asyncio.run(run())


def test_streams_are_not_fetched_until_tables_are_recovered() -> None:
    """Faust empties the streams' queues when recovery ends: what came before would be lost."""

    async def run() -> None:
        reader = consumer()
        (topic,) = reader.app.tables.changelog_topics
        changelog = TP(topic, 0)
        thread: Any = reader._thread
        reader.app.rebalancing = True
        await reader._getmany({WINDOWS, changelog}, 1.0)
        assert await reader._getmany({WINDOWS}, 0.0) == {}
        assert thread.asked == [{changelog}]
        reader.app.rebalancing = False
        await reader._getmany({WINDOWS, changelog}, 1.0)
        assert thread.asked[1:] == [{WINDOWS, changelog}]

    asyncio.run(run())


def test_an_acknowledged_batch_commits_all_of_it() -> None:
    """The offset to commit is the one after the last record, whatever lies between."""

    async def run() -> None:
        reader = consumer()
        reader._acked[WINDOWS].extend([9, 4])
        assert reader._new_offset(WINDOWS) == 10
        assert reader._new_offset(WINDOWS) is None
        reader._acked[WINDOWS].append(15)
        assert reader._new_offset(WINDOWS) == 16

    asyncio.run(run())


def test_partitions_are_acknowledged_apart() -> None:
    """A batch of one partition commits nothing of another."""

    async def run() -> None:
        reader = consumer()
        reader._acked[WINDOWS].append(3)
        assert reader._new_offset(PREDICTIONS) is None
        assert reader._new_offset(WINDOWS) == 4

    asyncio.run(run())


def message(offset: int) -> ConsumerMessage:
    """A message that nobody has acknowledged."""
    made = ConsumerMessage(*PREDICTIONS, offset, 0.0, 0, [], None, None, None, 0, 0, PREDICTIONS)
    made.incref()
    return made


def test_a_message_that_was_set_aside_is_not_waited_for_and_commits_when_acknowledged() -> None:
    """A rebalance goes on without it; nothing of it is committed before."""

    async def run() -> None:
        reader = consumer()
        topics: Any = reader.app.topics
        topics._acking_topics.add(PREDICTIONS.topic)
        held = message(3)
        reader.track_message(held)
        reader.defer(held)
        async with asyncio.timeout(1):
            await reader.wait_empty()
        assert reader._new_offset(PREDICTIONS) is None
        reader.resume(held)
        assert set(reader.unacked) == {held}
        assert held.ack(reader)
        assert not reader.unacked
        assert reader._new_offset(PREDICTIONS) == 4

    asyncio.run(run())


def test_a_partition_that_is_held_back_is_not_asked_for() -> None:
    """Others are, without a long wait: it may be let go meanwhile."""

    async def run() -> None:
        reader = consumer()
        thread: Any = reader._thread
        reader.pause(PREDICTIONS)
        await reader._getmany({WINDOWS, PREDICTIONS}, 1.0)
        assert await reader._getmany({PREDICTIONS}, 1.0) == {}
        reader.unpause(PREDICTIONS)
        await reader._getmany({WINDOWS, PREDICTIONS}, 1.0)
        assert thread.asked == [{WINDOWS}, {WINDOWS, PREDICTIONS}]
        assert thread.patience == [FULL_SECONDS, 1.0]

    asyncio.run(run())


def test_what_is_on_its_way_when_a_partition_is_held_back_is_delivered() -> None:
    """The consumer's position is behind it already; Faust's pause would lose it."""

    async def run() -> None:
        reader = consumer({PREDICTIONS: [Fetched(1)]})
        reader._wait_next_records = partial(  # type: ignore[method-assign]
            BatchConsumer._wait_next_records, reader
        )
        reader._active_partitions.add(PREDICTIONS)
        thread: Any = reader._thread

        async def slow(*_: Any, **__: Any) -> dict[TP, list[Any]]:
            reader.pause(PREDICTIONS)
            return reader.poll

        thread.getmany = slow
        assert [tp for tp, _ in await deliver(reader)] == [PREDICTIONS]

    asyncio.run(run())


def test_what_is_read_begins_where_nothing_was_on_its_way() -> None:
    """The position of before the first poll that brought something, until the next seek."""

    async def run() -> None:
        reader = consumer()
        thread: Any = reader._thread
        thread.places = {WINDOWS: (5, 9, 100.0)}
        await reader._getmany({WINDOWS}, 1.0)
        assert reader.readable(WINDOWS, since=1.0) == range(5, 9)
        thread.found, thread.places = {WINDOWS: [Fetched(6)]}, {WINDOWS: (7, 9, 100.0)}
        await reader._getmany({WINDOWS}, 1.0)
        await reader._getmany({WINDOWS}, 1.0)
        assert reader.readable(WINDOWS, since=1.0) == range(6, 9)
        reader.seek_to_committed = nowhere  # type: ignore[method-assign]
        await reader.perform_seek()
        assert reader.readable(WINDOWS, since=1.0) == range(9)

    asyncio.run(run())


async def nowhere() -> dict[TP, int]:
    """Seek, in a group that has committed nothing."""
    return {}


def test_gaps_between_batches_are_not_waited_for() -> None:
    """Transaction markers and compacted records leave gaps, which belong to the later batch."""

    async def run() -> None:
        reader = consumer()
        await reader._add_gap(WINDOWS, 0, 5)
        reader._acked[WINDOWS].append(8)
        assert reader._new_offset(WINDOWS) == 9

    asyncio.run(run())


def test_full_streams_are_looked_at_again_at_once() -> None:
    """Faust would do nothing for a whole second; nothing is fetched meanwhile either way."""

    async def run() -> None:
        reader = consumer()
        thread: Any = reader._thread
        reader._get_active_partitions = set  # type: ignore[method-assign]
        begun = asyncio.get_running_loop().time()
        assert await BatchConsumer._wait_next_records(reader, 1.0) == ({}, set())
        assert asyncio.get_running_loop().time() - begun < 0.5
        assert thread.asked == []

    asyncio.run(run())


def test_one_full_stream_does_not_hold_up_the_others() -> None:
    """What a poll may ask for changes when it drains, so the poll does not wait for long."""

    async def run() -> None:
        reader = consumer()
        thread: Any = reader._thread
        await reader._getmany({WINDOWS}, 1.0)
        reader._buffered_partitions.add(PREDICTIONS)
        await reader._getmany({WINDOWS}, 1.0)
        assert thread.patience == [1.0, FULL_SECONDS]

    asyncio.run(run())


def test_the_fetcher_has_asked_for_more_before_a_batch_is_processed() -> None:
    """However many turns it needs to hand on what has come."""

    async def run() -> None:
        reader = consumer()
        thread: Any = reader._thread
        asked = asyncio.Event()

        async def slow(partitions: set[TP], _: float) -> dict[TP, list[Any]]:
            thread.asked.append(partitions)
            if len(thread.asked) > 1:
                asked.set()
                await asyncio.Event().wait()
            return {}

        thread.getmany = slow
        reader._get_active_partitions = lambda: {WINDOWS}  # type: ignore[method-assign]

        async def fetch() -> None:
            while True:
                await BatchConsumer._wait_next_records(reader, 1.0)
                for _ in range(20):
                    await asyncio.sleep(0)

        reader._next_poll = 0.0
        fetcher = asyncio.create_task(fetch())
        await asyncio.sleep(0)  # the first poll has begun
        reader._next_poll = 0.0
        await reader.hand_on()
        assert asked.is_set()
        fetcher.cancel()

    asyncio.run(run())


def test_polls_that_find_little_are_spaced() -> None:
    """What comes within the gathering time is one batch; a backlog is polled without a pause."""

    async def run() -> None:
        reader = consumer()
        await reader._getmany({WINDOWS}, 1.0)
        assert reader._next_poll > 0.0
        reader._next_poll = 0.0
        thread: Any = reader._thread
        thread.found = {WINDOWS: [Fetched(n) for n in range(MANY_RECORDS)]}
        await reader._getmany({WINDOWS}, 1.0)
        assert reader._next_poll == 0.0

    asyncio.run(run())


def test_records_that_do_not_follow_the_last_ones_are_asked_about() -> None:
    """Earlier ones, a gap, another leader: each before its records are delivered."""

    async def run() -> None:
        reader = consumer({WINDOWS: [Fetched(5), Fetched(6)]})
        lineages = cast(LineagesInMemory, reader._lineages)
        await deliver(reader)
        assert lineages.asked == []
        reader.poll = {WINDOWS: [Fetched(20)]}
        await deliver(reader)
        reader._thread.epochs.saw(WINDOWS, 6, 22)
        reader.poll = {WINDOWS: [Fetched(21), Fetched(22)]}
        await deliver(reader)
        reader.poll = {WINDOWS: [Fetched(3)]}
        await deliver(reader)
        assert lineages.asked == [
            ("expired", WINDOWS, 7, 20),
            ("follow", WINDOWS, 22, 6, 22),
            ("check", WINDOWS, 23),
        ]

    asyncio.run(run())


def test_records_of_a_later_incarnation_have_positions() -> None:
    """The message keeps Kafka's offset, for the commit; its records are told apart for good."""

    async def run() -> None:
        reader = consumer({WINDOWS: [Fetched(5), Fetched(6)]})
        lineage = reader._lineages.of(WINDOWS)
        for number, first in ((0, 0), (1, 6)):
            lineage.apply(
                TopicEpoch("sensor.windows", 0, number, "a", number, first, event_time(0))
            )
        ((_, message),) = await deliver(reader)
        assert message.offset == 6
        assert [record.offset for record in message.value] == [5, PER_INCARNATION + 6]
        assert reader.readable(WINDOWS, since=0.0).start == 0

    asyncio.run(run())
