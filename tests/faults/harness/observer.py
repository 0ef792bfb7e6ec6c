"""Everything that a ``read_committed`` reader sees while a case is played, with its arrival.

One thread follows the topics; nothing else of the running system is asked. What it has seen
may be looked at from other threads at any time.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from functools import partial
from queue import Empty, SimpleQueue
from typing import Final, NamedTuple

from confluent_kafka import Consumer, Message, TopicPartition

from millrace.contracts.errors import ServerError
from millrace.contracts.events.topic_epoch import PER_INCARNATION
from millrace.contracts.headers import RawHeaders
from millrace.contracts.topics import (
    CHANGELOG,
    DEAD_LETTERS,
    MODEL_EVENTS,
    NORMALIZED,
    OUTCOMES,
    PREDICTIONS,
    SENSOR_WINDOWS,
    SERVING_LEDGER,
    Topic,
)
from millrace.infra.kafka.clients import partitions_of, reader, watermarks
from millrace.infra.kafka.errors import is_partition_end, raise_error
from millrace.infra.local.waiting import wait_until
from millrace.infra.settings import Settings

#: How long it may take to read other records, seconds.
_ORDER_SECONDS: Final = 30.0
#: How long it may take to read all that there are, seconds.
_READ_SECONDS: Final = 10.0
# A broker that is away is part of many cases: librdkafka would say so on stderr.
_CLIENT: Final = {"log_level": 0, "enable.partition.eof": True}
FOLLOWED: Final = (
    SENSOR_WINDOWS,
    NORMALIZED,
    PREDICTIONS,
    OUTCOMES,
    DEAD_LETTERS,
    SERVING_LEDGER,
    MODEL_EVENTS,
    CHANGELOG,
)


class Seen(NamedTuple):
    """A record as a consumer got it.

    Attributes:
        partition: Its partition.
        offset: Its position: its offset, as long as its topic is the first of its name.
        timestamp_ms: Its Kafka timestamp.
        key: Its key.
        value: Its value.
        headers: Its headers.
        arrived: When the observer got it, wall clock in seconds.
    """

    partition: int
    offset: int
    timestamp_ms: int
    key: bytes | None
    value: bytes
    headers: RawHeaders
    arrived: float


class Observer:
    """Follows topics from their beginning."""

    def __init__(self, settings: Settings, topics: Sequence[Topic] = FOLLOWED) -> None:
        """Start reading; the topics must be there."""
        self._problem: Exception | None = None
        self._seen: dict[str, list[Seen]] = {topic.name: [] for topic in topics}
        self._ends: dict[tuple[str, int], int] = {}
        #: Offset up to which a partition was read: markers of transactions lie behind its end.
        self._read: dict[tuple[str, int], int] = {}
        self._taken = dict.fromkeys(self._seen, 0)
        self._names = {settings.named(topic.name): topic.name for topic in topics}
        self._settings = settings
        self._client: Consumer | None = reader(settings, _CLIENT)
        self._places = [(n, p) for n in self._names for p in partitions_of(self._client, n)]
        self._client.assign([TopicPartition(*place, 0) for place in self._places])
        #: First offset and number of the incarnation that a partition is in now.
        self._begun: dict[tuple[str, int], tuple[int, int]] = {}
        self._orders: SimpleQueue[tuple[Callable[[], None], threading.Event]] = SimpleQueue()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._follow, name="observer", daemon=True)
        self._thread.start()

    def records(self, topic: Topic) -> list[Seen]:
        """Records of a topic so far; those of a partition in their order."""
        return list(self._seen[topic.name])

    def count(self, topic: Topic) -> int:
        """How many records of a topic there are so far, those that were taken included."""
        return self._taken[topic.name] + len(self._seen[topic.name])

    def take(self, topic: Topic) -> list[Seen]:
        """Take the records of a topic so far; they are forgotten here: memory is bounded."""
        seen = self._seen[topic.name]
        taken = seen[:]
        del seen[: len(taken)]  # the thread adds only behind them
        self._taken[topic.name] += len(taken)
        return taken

    def end(self, topic: Topic, partition: int) -> int:
        """The offset after the last record of a partition so far; 0 if it has none."""
        return self._ends.get((topic.name, partition), 0)

    @property
    def total(self) -> int:
        """How many records of all topics there are so far, those that were taken included."""
        return sum(self._taken.values()) + sum(map(len, self._seen.values()))

    def read_to_end(self) -> bool:
        """Wait until everything is read that is in the topics now.

        Returns:
            Whether that is so; False if no broker says what there is, or not all comes in time.

        Raises:
            ServerError: The observer sees nothing any more.
        """
        try:
            ends = self._ask_ends()
            wait_until(
                lambda: all(self._read.get(place, 0) >= end for place, end in ends.items()),
                "the observer to read to the end",
                seconds=_READ_SECONDS,
            )
        except ServerError:
            self.check()
            return False
        return True

    def leave(self) -> None:
        """Read nothing until `begin_again`; on return no client of this one knows a topic.

        One client must not see two topics of a name: librdkafka may end the process then.
        """
        self._have(self._let_go)

    def reopen(self) -> None:
        """Read on with another client; returns once it does.

        After a broker's restart a partition of librdkafka 2.8 may wait for ever for its leader
        epoch to be validated (its issue 4492). Services have watchdogs for that.
        """
        self._have(self._reopen)

    def begin_again(self, topic: Topic, firsts: Mapping[int, int]) -> None:
        """Read partitions from an offset on, as another incarnation; returns once it does.

        Args:
            topic: The topic, which was created anew or has lost its end.
            firsts: First offset of the new incarnation, by partition.
        """
        self._have(partial(self._restart, topic.name, firsts))

    def _have(self, order: Callable[[], None]) -> None:
        """Have the thread do something."""
        done = threading.Event()
        self._orders.put((order, done))
        if not done.wait(_ORDER_SECONDS):
            raise ServerError("the observer does not do what it is told")

    def check(self) -> None:
        """Make sure that it still sees.

        Raises:
            ServerError: It does not.
        """
        if self._problem is not None:
            raise ServerError(f"the observer sees nothing any more: {self._problem!r}")

    def close(self) -> None:
        """Leave."""
        self._stop.set()
        self._thread.join()
        self._let_go()

    def _follow(self) -> None:
        try:
            while not self._stop.is_set():
                self._obey()
                if self._client is None:
                    continue
                for message in self._client.consume(2000, 0.05):
                    self._take_in(message)
        except Exception as error:  # noqa: BLE001  (whatever it is: `check` says it)
            self._problem = error

    def _take_in(self, message: Message) -> None:
        error = message.error()
        partition, offset = message.partition() or 0, message.offset() or 0
        if error is not None and is_partition_end(error):
            self._read[self._names[message.topic() or ""], partition] = offset
            return
        raise_error(message)
        if error is None:
            name = self._names[message.topic() or ""]
            key, value = message.key(), message.value()
            self._seen[name].append(
                Seen(
                    partition,
                    self._position(name, partition, offset),
                    message.timestamp()[1],
                    bytes(key) if key is not None else None,
                    bytes(value or b""),
                    [(n, v or b"") for n, v in message.headers() or []],
                    time.time(),
                )
            )
            self._ends[name, partition] = self._read[name, partition] = offset + 1

    def _ask_ends(self) -> dict[tuple[str, int], int]:
        """Ask where the partitions that hold records end.

        Another client asks: on the connection of the one that reads, an answer waits for the
        fetch before it.
        """
        client = reader(self._settings, _CLIENT)
        try:
            found = {
                (self._names[name], partition): watermarks(client, TopicPartition(name, partition))
                for name, partition in self._places
            }
        finally:
            client.close()
        return {place: high if high > low else 0 for place, (low, high) in found.items()}

    def _obey(self) -> None:
        """Do what there is to do; without a client, wait for it."""
        with suppress(Empty):
            order, done = self._orders.get(timeout=0.05 if self._client is None else 0)
            order()
            done.set()

    def _let_go(self) -> None:
        if self._client is not None:
            Consumer.close(self._client)  # a reader's own would end beside us
            self._client = None

    def _restart(self, topic: str, firsts: Mapping[int, int]) -> None:
        for partition, first in firsts.items():
            key = topic, partition
            self._begun[key] = (first, self._begun.get(key, (0, 0))[1] + 1)
            self._ends[key] = first
        self._reopen()

    def _reopen(self) -> None:
        self._let_go()
        self._read.clear()
        self._client = reader(self._settings, _CLIENT)
        self._client.assign(
            [
                TopicPartition(name, partition, self._ends.get((self._names[name], partition), 0))
                for name, partition in self._places
            ]
        )

    def _position(self, topic: str, partition: int, offset: int) -> int:
        first, number = self._begun.get((topic, partition), (0, 0))
        if offset < first:
            raise LookupError(f"record {offset} of {topic} is one of the incarnation before")
        return number * PER_INCARNATION + offset
