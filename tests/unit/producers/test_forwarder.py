"""A forwarder spools first, produces in order, waits or counts without room, forgets nothing."""

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
from confluent_kafka import KafkaError, Producer

from millrace.contracts.errors import ServerError
from millrace.contracts.events.event import JSON, MSGPACK
from millrace.contracts.events.window import SensorWindow, decode_window
from millrace.contracts.headers import header
from millrace.producers.delivery import forwarder as module
from millrace.producers.delivery.backlog import MEMORY_RECORDS
from millrace.producers.delivery.forwarder import Forwarder, State
from millrace.producers.delivery.in_flight import REPEATS
from millrace.producers.delivery.memory_spool import MemorySpool
from millrace.producers.delivery.spool import Spool
from millrace.producers.delivery.sqlite_spool import SqliteSpool
from millrace.producers.record import Encoding


class FakeProducer:
    """A broker behind a small queue: it may be away, and may refuse."""

    def __init__(self, room: int = 10_000, clock: "Clock | None" = None) -> None:
        self.arrived: list[SimpleNamespace] = []
        self._clock = clock
        self.away = False
        self.at_once: int | None = None
        self.refuses: KafkaError | None = None
        self._queue: list[tuple[SimpleNamespace, Callable[[KafkaError | None, None], None]]] = []
        self._room = room
        self.polls = 0

    def produce(self, topic: str, value: bytes, key: bytes | None, **more: Any) -> None:
        """Queue a record, as librdkafka does."""
        if len(self._queue) >= self._room:
            raise BufferError("Local: Queue full")
        report = more.pop("on_delivery")
        self._queue.append((SimpleNamespace(topic=topic, value=value, key=key, **more), report))

    def poll(self, seconds: float = 0) -> int:
        """Deliver and report everything, if the broker is there; else time passes.

        A part of a millisecond does not: librdkafka takes it for none.
        """
        self.polls += 1
        if self._clock is not None:
            self._clock.now += int(seconds * 1000) / 1000
        count = 0 if self.away else self.at_once
        queue, self._queue = self._queue[:count], self._queue[len(self._queue[:count]) :]
        for record, report in queue:
            if self.refuses is None:
                self.arrived.append(record)
            report(self.refuses, None)
        return len(queue)

    def purge(self) -> None:
        """Forget what is queued."""
        self._queue.clear()

    @property
    def starts(self) -> list[int]:
        """Starts of the windows that arrived."""
        return [decode_window(record.value, MSGPACK).start_ms for record in self.arrived]


class Clock:
    """A monotonic clock that moves when it is told to, and a little when it is read."""

    def __init__(self) -> None:
        self.now = 1_000.0

    def monotonic(self) -> float:
        """The time."""
        self.now += 1e-6
        return self.now

    def time_ns(self) -> int:
        """The wall clock."""
        return int(self.now * 1e9)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """The forwarder's clock."""
    made = Clock()
    monkeypatch.setattr(module, "time", made)
    return made


@pytest.fixture
def spool(tmp_path: Path) -> Iterator[SqliteSpool]:
    """A spool on a real disk."""
    with SqliteSpool(tmp_path / "spool") as made:
        yield made


def window(start_ms: int, asset: str = "pump-1", samples: int = 4) -> SensorWindow:
    """A window."""
    return SensorWindow(asset, ("flow",), start_ms, 60.0, np.ones((samples, 1), np.float32))


@pytest.fixture(params=["sqlite", "memory"])
def either(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Spool]:
    """A spool of each kind."""
    if request.param == "memory":
        yield MemorySpool()
        return
    with SqliteSpool(tmp_path / "spool") as made:
        yield made


def forwarder(spool: Spool, fake: FakeProducer, **more: Any) -> Forwarder:
    """A forwarder over the fake."""
    return Forwarder(spool, cast(Producer, fake), "t.sensor.windows", **more)


def test_everything_arrives_in_order_with_the_time_of_its_spooling(
    either: Spool, clock: Clock
) -> None:
    """A record is spooled first; its timestamp is when it was handed over, not when sent."""
    fake = FakeProducer()
    own = forwarder(either, fake)
    for start in range(1_200):
        assert own.send(window(start))
    assert either.last >= 1_000
    clock.now += 100
    own.flush()
    assert fake.starts == list(range(1_200))
    assert {record.timestamp // 1_000 for record in fake.arrived} == {1_000}
    assert (own.waiting, own.left, own.finished) == (0, 0, True)
    assert own.spooled == 1_200


def test_an_outage_is_spooled_and_made_up_for(either: Spool, clock: Clock) -> None:
    """While nothing is confirmed, windows are spooled; afterwards all of them go out, in order."""
    fake, told = FakeProducer(), list[str]()
    own = forwarder(either, fake, tell=told.append)
    fake.away = True
    for start in range(6_000):
        own.send(window(start, f"pump-{start % 3}"))
        if start % 100 == 99:
            clock.now += 0.5
            own.poll(0)
    assert own.waiting == 6_000
    assert own.state is State.AWAY
    assert own.note == "broker away, 6,000 windows spooled"
    assert fake.arrived == []
    assert len(own._backlog._memory) < 3_000
    fake.away = False
    own.flush()
    assert sorted(fake.starts) == list(range(6_000))
    for asset in (b"pump-0", b"pump-1", b"pump-2"):
        starts = [s for s, r in zip(fake.starts, fake.arrived, strict=True) if r.key == asset]
        assert starts == sorted(starts)
    assert [line.split(";")[0] for line in told] == [
        "the broker is away",
        "the broker is back after 30 s",
    ]


def test_a_slow_broker_holds_a_recording_back(either: Spool, clock: Clock) -> None:
    """While the broker is there, the source goes at its pace instead of filling the disk."""
    fake = FakeProducer(clock=clock)
    fake.at_once = 50
    own = forwarder(either, fake)
    most = 0
    for start in range(9_000):
        assert own.send(window(start))
        most = max(most, own.waiting)
    assert MEMORY_RECORDS <= most < MEMORY_RECORDS + 1_000
    fake.at_once = None
    own.flush()
    assert fake.starts == list(range(9_000))


def test_no_more_is_under_way_than_downstream_remembers(either: Spool, clock: Clock) -> None:
    """Of an asset, what a crash would repeat is bounded, however much waits."""
    fake = FakeProducer()
    fake.away = True
    own = forwarder(either, fake)
    for start in range(1_000):
        own.send(window(start))
    own.poll(0)
    assert len(fake._queue) == REPEATS


def test_a_killed_run_is_continued_first(spool: SqliteSpool, tmp_path: Path, clock: Clock) -> None:
    """What an earlier run left goes out before the new run's windows; nothing is left out."""
    away = FakeProducer()
    away.away = True
    first = forwarder(spool, away, positions=True)
    for start in range(700):
        first.send(window(start))
    clock.now += 1
    first.poll(0)
    spool.close()  # as a kill does: what is in memory is gone
    with SqliteSpool(tmp_path / "spool") as again:
        fake = FakeProducer()
        second = forwarder(again, fake)
        assert second.found == 700
        second.send(window(700))
        second.flush()
        assert fake.starts == list(range(701))
        assert second.left == 0


def test_a_recording_waits_for_room(tmp_path: Path, clock: Clock) -> None:
    """With a full spool and no broker, the source is held until a signal ends the run."""
    fake, told = FakeProducer(clock=clock), list[str]()
    fake.away = True
    with SqliteSpool(tmp_path, 1 << 20) as spool:
        own = forwarder(spool, fake, tell=told.append, stopping=lambda: clock.now > 1_100)
        sent = 0
        while own.send(window(sent)):
            sent += 1
            if sent % 50 == 0:
                clock.now += 0.5
                own.poll(0)
        own.flush()
        assert not own.finished
        assert own.handed == spool.waiting == own.left < sent
        assert own.not_recorded == 0
    (full,) = [line for line in told if "limit" in line]
    assert full.endswith("(--spool-limit); the source waits until there is room")


def test_what_a_live_source_has_no_room_for_is_counted(tmp_path: Path, clock: Clock) -> None:
    """A live source is never held; its windows without room are counted, and it is said twice."""
    fake, told = FakeProducer(), list[str]()
    fake.away = True
    with SqliteSpool(tmp_path, 1 << 20) as spool:
        own = forwarder(spool, fake, tell=told.append, live=True)
        taken = 0
        for start in range(8_000):
            taken += own.send(window(start))
            if start % 50 == 49:
                clock.now += 0.5
                own.poll(0)
        assert own.not_recorded == 8_000 - taken > 1_000
        fake.away = False
        own.flush()
        assert own.waiting == 0
        assert len(fake.starts) == taken
        assert fake.starts == sorted(fake.starts)
    assert sum("what is measured is not recorded" in line for line in told) == 1
    assert any(f"{own.not_recorded:,} windows were not recorded" in line for line in told)


def test_a_refused_window_ends_the_run_and_stays(spool: SqliteSpool, clock: Clock) -> None:
    """A record that the broker refuses is an error that says where it waits."""
    fake = FakeProducer()
    fake.refuses = KafkaError(KafkaError.MSG_SIZE_TOO_LARGE)
    own = forwarder(spool, fake)
    own.send(window(0))
    with pytest.raises(ServerError, match=r"1 windows could not be delivered to t\.sensor.*1 wait"):
        own.flush()
    own.close()
    assert spool.waiting == 1


def test_nothing_is_produced_before_the_broker_is_ready(either: Spool, clock: Clock) -> None:
    """A live edge that starts in an outage spools until the broker and its topic are there."""
    fake, told = FakeProducer(), list[str]()
    ready = [False, False, True]
    own = forwarder(either, fake, live=True, connect=partial(ready.pop, 0), tell=told.append)
    for start in range(50):
        own.send(window(start))
        clock.now += 0.1
        own.poll(0)
        assert bool(fake.arrived) <= (not ready)
    own.flush()
    assert fake.starts == list(range(50))


def test_who_waits_does_not_turn_in_circles(spool: SqliteSpool, clock: Clock) -> None:
    """A wait has an end within a millisecond, which librdkafka cannot wait."""
    fake = FakeProducer(clock=clock)
    edge = forwarder(spool, fake)
    began = clock.now
    edge.poll(0.0042)
    assert clock.now >= began + 0.0042
    assert fake.polls <= 4


def test_a_silent_but_idle_broker_is_not_away(either: Spool, clock: Clock) -> None:
    """With nothing under way, silence means nothing."""
    fake, told = FakeProducer(), list[str]()
    own = forwarder(either, fake, tell=told.append)
    for start in range(5):
        own.send(window(start))
        own.poll(0)
        clock.now += 60
        own.poll(0)
    assert (told, own.note, len(fake.starts)) == ([], "", 5)


@pytest.mark.parametrize(("encoding", "content_type"), [("msgpack", MSGPACK), ("json", JSON)])
def test_a_record_is_as_agreed(encoding: Encoding, content_type: str, clock: Clock) -> None:
    """Key the asset, CloudEvents headers, a timestamp, the window."""
    fake = FakeProducer()
    own = forwarder(MemorySpool(), fake, encoding=encoding)
    own.send(window(7))
    own.flush()
    (record,) = fake.arrived
    assert (record.topic, record.key) == ("t.sensor.windows", b"pump-1")
    assert header(record.headers, "content-type") == content_type
    assert header(record.headers, "ce_id") == window(7).id
    assert header(record.headers, "ce_type") == "millrace.window.v1"
    assert decode_window(record.value, content_type).id == window(7).id


def test_a_full_queue_is_waited_for(clock: Clock) -> None:
    """With room for three in librdkafka, ten windows all arrive."""
    fake = FakeProducer(room=3, clock=clock)
    own = forwarder(MemorySpool(), fake)
    for start in range(10):
        own.send(window(start))
    own.flush()
    assert (own.handed, own.left, fake.starts) == (10, 0, list(range(10)))


def test_what_waits_in_memory_is_not_lost_without_a_word(clock: Clock) -> None:
    """A run that ends while the broker is away fails with the number of lost windows."""
    fake = FakeProducer(clock=clock)
    fake.away = True
    own = forwarder(MemorySpool(), fake, stopping=lambda: clock.now > 1_010)
    for start in range(40):
        own.send(window(start))
    with pytest.raises(ServerError, match="40 windows are lost with this run; without --no-spool"):
        own.flush()
    assert own.counts() is None


def test_a_refused_window_ends_a_run_from_memory(clock: Clock) -> None:
    """What is lost with it is said."""
    fake = FakeProducer()
    fake.refuses = KafkaError(KafkaError.MSG_SIZE_TOO_LARGE)
    own = forwarder(MemorySpool(), fake)
    own.send(window(0))
    with pytest.raises(ServerError, match=r"could not be delivered.*1 are lost with this run"):
        own.flush()


def test_a_recording_waits_for_room_in_memory(clock: Clock) -> None:
    """With a full memory and no broker, the source is held."""
    fake, told = FakeProducer(clock=clock), list[str]()
    fake.away = True
    own = forwarder(
        MemorySpool(1 << 16), fake, tell=told.append, stopping=lambda: clock.now > 1_100
    )
    sent = 0
    while own.send(window(sent)):
        sent += 1
        if sent % 50 == 0:
            clock.now += 0.5
            own.poll(0)
    assert own.not_recorded == 0
    assert any("wait in memory, which has reached its limit" in line for line in told)
    fake.away = False
    own.flush()
    assert fake.starts == list(range(sent))


def test_a_stopped_live_source_counts_every_window_without_room(
    tmp_path: Path, clock: Clock
) -> None:
    """Windows that still come after the stop are taken or counted, each of them."""
    fake = FakeProducer()
    fake.away = True
    with SqliteSpool(tmp_path, 1 << 20) as spool:
        own = forwarder(spool, fake, live=True, stopping=lambda: clock.now > 1_030)
        taken = 0
        for start in range(8_000):
            taken += own.send(window(start))
            if start % 50 == 49:
                clock.now += 0.5
        own.flush()
        assert own.not_recorded == 8_000 - spool.waiting > 1_000
        assert own.handed == spool.waiting <= taken
