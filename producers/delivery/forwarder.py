"""Delivers windows through a spool to Kafka; one file, since its states share one loop.

An edge loses no window when the broker is unavailable or when it is killed itself. (With a spool in
memory, unconfirmed windows are lost with the process; the run then ends with an error.)

```
send ──► batch ──► Spool.append ──► librdkafka ──► broker
         (memory)   (on disk)    ▲      │ delivery reports
                       Backlog ──┘      └──► InFlight ──► Spool.confirm

CONNECTING ──first answer──► DELIVERING ──silence──► AWAY ──answer──► DELIVERING
any of them ──no room──► FULL ──room again──► what it was
```

A window is on disk before it is produced, and is removed when the broker has confirmed it. While
the broker is available, a source that can wait is slowed to the pace of delivery and little is on
disk; while it is unavailable, windows are spooled at the source's pace until the spool is full.
Then a recording is read no further, and windows of a live source are counted as not recorded.
librdkafka never gives up a record, and its queue is bounded: records are kept in the spool.

A crash repeats windows that were produced and not yet recorded as confirmed, at most
`in_flight.REPEATS` of an asset, in order; a stream processor recognises them. A crash loses nothing
of a recording, and of a live source the readings since the last batch, some `_LINGER_SECONDS` ago.
Confirmation is a prefix over all partitions, so a partition without a leader soon blocks the
others: their windows stay in the spool, too.
"""

import time
from collections.abc import Callable
from enum import Enum, auto
from functools import partial
from typing import Final

import msgspec
from confluent_kafka import KafkaError, KafkaException, Message, Producer
from prometheus_client import Counter, Gauge

from millrace.contracts.errors import DataError, ServerError
from millrace.contracts.events.window import SensorWindow
from millrace.contracts.headers import RawHeaders
from millrace.contracts.topics import MAX_RECORD_BYTES
from millrace.infra.kafka.clients import whole_ms
from millrace.infra.process.fault_points import reached
from millrace.producers.delivery.backlog import MEMORY_RECORDS, Backlog
from millrace.producers.delivery.in_flight import InFlight
from millrace.producers.delivery.outage_detector import OutageDetector
from millrace.producers.delivery.spool import Spool, SpoolFullError
from millrace.producers.record import Encoding, Record, window_record
from millrace.producers.sources.position import position_of

DELIVERED: Final = Counter("millrace_edge_windows_delivered_total", "Windows the broker has")
FAILED: Final = Counter("millrace_edge_windows_failed_total", "Windows that it refused")
WAITING: Final = Gauge("millrace_edge_windows_waiting", "Windows in the spool, not confirmed")
SPOOL_BYTES: Final = Gauge("millrace_edge_spool_bytes", "Size of the spool")
NOT_RECORDED: Final = Counter(
    "millrace_edge_windows_not_recorded_total", "Windows of a live source that no room was for"
)

#: Settings of a producer behind a spool: it never gives up, its queue is small, and it does not
#: linger, because records arrive in batches.
PRODUCER: Final = {
    "message.timeout.ms": 0,
    "queue.buffering.max.messages": 10_000,
    "queue.buffering.max.kbytes": 32 << 10,
    "linger.ms": 1,
}

#: Records, bytes and seconds after which a batch is spooled.
_BATCH_RECORDS: Final = 500
_BATCH_BYTES: Final = 4 << 20
_LINGER_SECONDS: Final = 0.02
#: Linger of a batch, as a multiple of the last write's duration, and its upper bound: it spares a
#: slow disk.
_REST: Final = 4.0
_LONGEST_LINGER_SECONDS: Final = 0.25
#: Pause between two attempts to write to a full spool, and to reach a broker at the start.
_AGAIN_SECONDS: Final = 0.5
#: Longest wait before the next turn of the loop, seconds.
_LOOK_SECONDS: Final = 0.05
#: Poll interval while a source is blocked on a full queue or spool, seconds.
_ROOM_SECONDS: Final = 0.005

#: How long a run that is being stopped waits for confirmations, seconds.
END_SECONDS: Final = 5.0

Connect = Callable[[], bool]


class State(Enum):
    """State of the delivery, see the module's docstring."""

    CONNECTING = auto()
    DELIVERING = auto()
    AWAY = auto()
    FULL = auto()


class SpoolCounts(msgspec.Struct, frozen=True):
    """Figures of a spool on disk in a run.

    Attributes:
        folder: Its folder; a finished spool is removed.
        found: Unconfirmed windows in it at the start, sent before all others.
        spooled: Windows of this run that were written to it.
        waiting: Unconfirmed windows in it at the end.
    """

    folder: str
    found: int
    spooled: int
    waiting: int


class Forwarder:
    """Delivers windows through a spool; owned by one thread, like the spool.

    Attributes:
        handed: Records taken over in this run.
        spooled: Those of them that are, or were, on disk.
        found: Records that were left in the spool by earlier runs.
        not_recorded: Windows for which there was no room.
        finished: Whether the source has ended and its windows are confirmed.
    """

    def __init__(
        self,
        spool: Spool,
        client: Producer,
        topic: str,
        *,
        source: str = "/millrace/edge",
        encoding: Encoding = "msgpack",
        live: bool = False,
        positions: bool = False,
        connect: Connect = lambda: True,
        stopping: Callable[[], bool] = lambda: False,
        tell: Callable[[str], None] = lambda _: None,
    ) -> None:
        """Take over a spool; the records in it are sent first.

        Args:
            spool: Held by this process.
            client: An idempotent producer with the settings `PRODUCER`.
            topic: Topic of the windows.
            source: CloudEvents source of the windows.
            encoding: Encoding of the windows.
            live: Whether the source cannot wait.
            positions: Whether to store the place in the source.
            connect: Returns whether the broker is ready; polled until it is, and nothing is
                produced before.
            stopping: Returns whether the run is being stopped.
            tell: Called with one line when the broker becomes unavailable or available, and when
                there is no room.
        """
        self.handed = self.spooled = self.not_recorded = 0
        self.found = spool.waiting
        self.finished = False
        self._spool, self._client, self._topic = spool, client, topic
        self._source, self._encoding = source, encoding
        self._live, self._positions = live, positions
        self._connect, self._stopping, self._tell = connect, stopping, tell
        self._connected = False
        self._connect_at = 0.0
        self._pending: list[Record] = []
        self._pending_bytes = 0
        self._pending_since = 0.0
        self._position: bytes | None = None
        self._linger = _LINGER_SECONDS
        self._full = False
        self._store_at = 0.0
        self._backlog = Backlog(spool)
        self._flight = InFlight()
        self._absence = OutageDetector(time.monotonic())
        self._lost_since = 0
        self._failed = 0
        self._problem: str | None = None
        WAITING.set_function(lambda: self.waiting)
        SPOOL_BYTES.set_function(lambda: spool.size)

    @property
    def waiting(self) -> int:
        """Records that the broker has not confirmed."""
        return self._spool.waiting + len(self._pending)

    @property
    def left(self) -> int:
        """Unconfirmed records of this run: the last ones in the spool."""
        return min(self.waiting, self.handed)

    @property
    def state(self) -> State:
        """The present state."""
        if self._full:
            return State.FULL
        if self._absence.away:
            return State.AWAY
        return State.DELIVERING if self._connected else State.CONNECTING

    @property
    def note(self) -> str:
        """A note about the delivery for people; empty when there are no problems."""
        match self.state:
            case State.FULL:
                return "no room in the spool"
            case State.AWAY:
                return f"broker away, {self.waiting:,} windows spooled"
            case State.DELIVERING | State.CONNECTING:
                is_late = len(self._backlog) > MEMORY_RECORDS
                return f"{self.waiting:,} in the spool" if is_late else ""

    def counts(self) -> SpoolCounts | None:
        """Figures of its spool; None if it is not on disk."""
        if not self._spool.is_durable:
            return None
        return SpoolCounts(
            folder=self._spool.place,
            found=self.found,
            spooled=self.spooled,
            waiting=self._spool.waiting,
        )

    def send(self, window: SensorWindow) -> bool:
        """Take over a window; its record's timestamp is the present wall clock.

        Blocks while there is no room, unless the source is live.

        Returns:
            Whether it was accepted: not if the run is stopped while this blocks, nor, for a live
            source, if there is no room.

        Raises:
            ServerError: The broker refused a window.
            DataError: The window is too large for any topic, or the spool is damaged.
        """
        if not self._room():
            return False
        at_ms = time.time_ns() // 1_000_000
        record = window_record(window, self._encoding, self._source, at_ms)
        self._take(record, position_of(window) if self._positions else None)
        return True

    def send_record(self, key: bytes | None, value: bytes, headers: RawHeaders, at_ms: int) -> bool:
        """Take over a record unchanged; see `send`.

        Args:
            key: Its key.
            value: Its value.
            headers: Its headers.
            at_ms: Its timestamp, milliseconds UTC.
        """
        if not self._room():
            return False
        self._take(Record(key, value, headers, at_ms), None)
        return True

    def poll(self, seconds: float) -> None:
        """Spool, produce and confirm for a time.

        Raises:
            ServerError: The broker refused a window.
            DataError: The spool is damaged.
        """
        ends = time.monotonic() + seconds
        while True:
            now = self._turn()
            if now >= ends:
                return
            wait = min(ends - now, _LOOK_SECONDS)
            if self._pending:
                wait = min(wait, max(self._pending_since + self._linger - now, 0.001))
            self._client.poll(whole_ms(wait))

    def flush(self, seconds: float | None = None) -> None:
        """Spool the rest, and wait until the broker has everything.

        While the run is being stopped, for at most `END_SECONDS`: the rest stays in the spool.

        Args:
            seconds: Longest wait; None for no limit.

        Raises:
            ServerError: The broker refused a window, or the rest would be lost with the process.
            DataError: The spool is damaged.
        """
        ends = None if seconds is None else time.monotonic() + seconds
        self._store_at = 0.0
        while self.waiting:
            if self._pending:
                self._store()
            now = self._turn()
            if self._stopping() and ends is None:
                ends = now + END_SECONDS
            if ends is not None and now >= ends:
                break
            self._client.poll(_LOOK_SECONDS if self._spool.waiting else 0)
        self._drop_pending()
        self.finished = not self.waiting and not self._stopping()
        if self.waiting and not self._spool.is_durable:
            raise ServerError(
                f"the broker is away, and {self.waiting:,} windows are lost with this run; without"
                " --no-spool they would wait on disk"
            )

    def close(self) -> None:
        """Write records in memory to disk, if there is room."""
        if self._pending:
            self._store_at = 0.0
            self._store()
            self._drop_pending()
        # Records in librdkafka's queue are in the spool, too.
        self._client.purge()

    def _drop_pending(self) -> None:
        """Drop records that the spool refused; a recording has them still, a live source not."""
        if self._live:
            self._lose(len(self._pending))
        self.handed -= len(self._pending)
        self._pending = []
        self._pending_bytes = 0
        self._say_lost()

    def _room(self) -> bool:
        """Wait until there is room for one more record; False if there will be none."""
        while self._crowded or not (
            self._live or self._absence.away or len(self._backlog) < MEMORY_RECORDS
        ):
            if self._live:
                self._turn()
                if self._crowded:
                    self._lose(1)
                    return False
                continue
            if self._stopping():
                return False
            self._turn()
            self._client.poll(_ROOM_SECONDS)
        return True

    @property
    def _crowded(self) -> bool:
        """Whether a whole batch is kept in memory, because the spool does not accept it."""
        return len(self._pending) >= _BATCH_RECORDS or self._pending_bytes >= _BATCH_BYTES

    def _lose(self, count: int) -> None:
        if count:
            self.not_recorded += count
            self._lost_since += count
            NOT_RECORDED.inc(count)

    def _take(self, record: Record, position: bytes | None) -> None:
        if len(record.value) > MAX_RECORD_BYTES:
            raise DataError(
                f"a record of {len(record.value):,} bytes is more than any topic takes"
                f" ({MAX_RECORD_BYTES:,}): make windows shorter"
            )
        now = time.monotonic()
        if not self._pending:
            self._pending_since = now
        self._pending.append(record)
        self._pending_bytes += len(record.value)
        self._position = position or self._position
        self.handed += 1
        if self._crowded or now - self._pending_since >= self._linger:
            self._store()
            self._turn()

    def _turn(self) -> float:
        """Run one iteration without waiting; returns the time."""
        now = time.monotonic()
        if self._pending and now - self._pending_since >= self._linger:
            self._store()
        if self._ready(now):
            self._produce()
            self._client.poll(0)
            self._settle(now)
        if self._problem is not None:
            rest = (
                f"wait in the spool {self._spool.place}, and are sent when the same command"
                " starts again"
                if self._spool.is_durable
                else "are lost with this run"
            )
            raise ServerError(
                f"{self._failed} windows could not be delivered to {self._topic}:"
                f" {self._problem}; {self._spool.waiting:,} {rest}"
            )
        self._watch(now)
        return now

    def _store(self) -> None:
        """Write the batch to disk; without room it stays in memory until there is."""
        began = time.monotonic()
        if began < self._store_at:
            return
        try:
            self._spool.append(self._pending, self._position)
        except SpoolFullError as error:
            if not self._full:
                held = "what is measured is not recorded" if self._live else "the source waits"
                self._tell(f"{error}; {held} until there is room")
            self._full = True
            self._store_at = began + _AGAIN_SECONDS
            return
        if self._full:
            self._full = False
            self._tell(f"there is room in the spool again, {self.waiting:,} windows wait")
            self._say_lost()
        self._backlog.spooled(self._pending, self._pending_bytes)
        self.spooled += len(self._pending)
        self._pending = []
        self._pending_bytes = 0
        rest = _REST * (time.monotonic() - began)
        self._linger = min(max(_LINGER_SECONDS, rest), _LONGEST_LINGER_SECONDS)
        reached("edge.before-output")

    def _ready(self, now: float) -> bool:
        """Whether windows may be produced: the broker has answered once."""
        if not self._connected and now >= self._connect_at:
            self._connected = self._connect()
            self._connect_at = time.monotonic() + _AGAIN_SECONDS
            if self._connected:
                self._absence.heard(time.monotonic())
        return self._connected

    def _produce(self) -> None:
        """Produce records while librdkafka's queue has room, from memory or else from the disk."""
        while (next_one := self._backlog.next()) is not None:
            number, record = next_one
            if not self._flight.has_room(record.key):
                return
            if not self._flight:
                self._absence.heard(time.monotonic())
            try:
                self._client.produce(
                    self._topic,
                    record.value,
                    record.key,
                    on_delivery=partial(self._report, number),
                    timestamp=record.at_ms,
                    headers=list(record.headers),
                )
            except BufferError:
                return
            except KafkaException as error:
                raise ServerError(f"a record for {self._topic} was refused: {error}") from error
            self._backlog.produced()
            self._flight.add(number, record.key)

    def _report(self, number: int, error: KafkaError | None, _: Message) -> None:
        if error is None:
            self._flight.confirm(number)
            DELIVERED.inc()
        else:
            self._failed += 1
            FAILED.inc()
            self._problem = error.str()

    def _settle(self, now: float) -> None:
        """Record up to which number the broker has confirmed."""
        through = self._flight.settle()
        if through is None:
            return
        reached("edge.before-confirmation")
        self._spool.confirm(through)
        self._absence.heard(now)

    def _watch(self, now: float) -> None:
        """Detect that the broker becomes unavailable or available."""
        expecting = bool(self._flight) or not self._connected
        if (change := self._absence.look(now, expecting=expecting)) is not None:
            count = (
                "windows are spooled" if self._absence.away else f"{self.waiting:,} windows wait"
            )
            self._tell(f"{change}; {count} in {self._spool.place}")

    def _say_lost(self) -> None:
        """Report once how many windows were lost because there was no room."""
        if self._lost_since:
            self._tell(f"{self._lost_since:,} windows were not recorded for want of room")
            self._lost_since = 0
