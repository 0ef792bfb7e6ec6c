"""A replica's place in the consumer group: what it owns, fetches, and goes back to."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterable
from typing import Final

import structlog
from confluent_kafka import (
    OFFSET_BEGINNING,
    Consumer,
    KafkaError,
    KafkaException,
    Message,
    TopicPartition,
)

from millrace.contracts.errors import ServerError
from millrace.contracts.topics import NORMALIZED
from millrace.contracts.wire.groups import INFERENCE
from millrace.inference.kafka.transactions import STEP_SECONDS
from millrace.infra.kafka.clients import consumer
from millrace.infra.kafka.errors import error_of, is_forbidden
from millrace.infra.kafka.place import Place
from millrace.infra.kafka.retry import DeadlineExceeded, RetryPolicy
from millrace.infra.settings import Settings
from millrace.infra.topics.ids import member_name

_log = structlog.get_logger(__name__)
#: Windows in a micro-batch, at most: enough that a transaction costs little beside them.
MOST_WINDOWS: Final = 2048
#: Least time between the closing of two micro-batches that are not full, seconds.
AGE_SECONDS: Final = 0.05
#: How long the group waits for a replica that is silent, milliseconds.
SESSION_TIMEOUT_MS: Final = 15_000
#: How often a replica asks the group what is new (a change of owners, another process that has
#: taken its name), milliseconds.
HEARTBEAT_MS: Final = 1_000
#: How long it waits for one that is alive but asks for nothing more, milliseconds.
POLL_INTERVAL_MS: Final = 60_000
#: Windows that may wait in the client, for each partition, kB. What is taken from there at
#: once is in memory about three times.
QUEUED_KB: Final = 16_384
#: How long the client rests when so much waits, milliseconds. (librdkafka's own second would
#: be a second of nothing to do whenever a backlog is processed.)
QUEUE_BACKOFF_MS: Final = 10
#: How long an idle consumer waits before it looks around, seconds.
IDLE_SECONDS: Final = 0.25
#: A replica that loses its place in the group a second time within so long has lost it to
#: another process, and not to itself (`Membership._take_back`), seconds.
AGAIN_SECONDS: Final = 30.0
#: How long the group may owe an answer about committed offsets, seconds: longer than it waits for
#: a transaction of somebody who has died. librdkafka may have lost the broker for good by then.
COMMITTED_SECONDS: Final = 30.0
#: The group has given the place of this replica to somebody else.
_FENCED: Final = frozenset(
    {KafkaError.FENCED_INSTANCE_ID, KafkaError._FATAL}  # noqa: SLF001  (the client's own code)
)


class Membership:
    """Reads the partitions that the group gives to this replica; owned by one thread.

    Attributes:
        client: The Kafka client; its offsets go into transactions. Another object whenever
            the replica takes its place again.
        owned: Partitions that are this replica's. Another object whenever they change.
        joined: Whether the group has ever given it any, be it none.
    """

    def __init__(
        self,
        settings: Settings,
        name: str,
        patience: RetryPolicy,
        leave: Callable[[Iterable[int]], None],
    ) -> None:
        """Ask for a place in the group.

        Args:
            settings: Addresses and the like.
            name: The replica's name.
            patience: Waits for the broker.
            leave: Told of partitions that are another replica's once it returns.
        """
        self._settings = settings
        self._name = name
        self._patience = patience
        self._leave = leave
        self._topic = settings.named(NORMALIZED.name)
        self._closed_at = 0.0
        self._lost_at = -AGAIN_SECONDS
        self.owned: frozenset[int] = frozenset()
        self.joined = False
        self.client = self._connected()
        self._join()

    def fetch(self, *, idle: bool = True) -> list[Message]:
        """Take a micro-batch.

        Args:
            idle: Whether there is nothing else to do, so that it may be waited for, for a moment.

        Raises:
            KafkaException: Another process has this replica's name, or it may not read.
        """
        client = self.client
        first = self.client.poll(IDLE_SECONDS if idle else 0)
        if first is None:
            return []
        age = max(0.0, self._closed_at + AGE_SECONDS - time.monotonic())
        messages = [first, *self.client.consume(MOST_WINDOWS - 1, timeout=age)]
        self._closed_at = time.monotonic()
        # Trouble is told beside records; a rebalance may have come while they were fetched.
        for error in [message.error() for message in messages]:
            if error is not None:
                self._hear(error)
                if self.client is not client:
                    return []
        return [m for m in messages if m.partition() in self.owned and m.error() is None]

    def offsets(self, following: dict[int, int]) -> list[TopicPartition]:
        """Name the places from which to read on, for a transaction."""
        return [TopicPartition(self._topic, p, offset) for p, offset in following.items()]

    def committed(self, partitions: Iterable[int]) -> list[TopicPartition]:
        """Ask where the group has committed; waits for transactions that are not over yet.

        Raises:
            Stopped: The process was told to stop meanwhile.
            ServerError: No answer comes; the process has to begin anew.
            KafkaException: The group may not be asked.
        """
        wanted = [TopicPartition(self._topic, partition) for partition in partitions]

        def ask() -> list[TopicPartition]:
            places = self.client.committed(wanted, STEP_SECONDS)
            for place in places:
                if place.error is not None:
                    raise KafkaException(place.error)
            return places

        try:
            return self._patience.call(ask, "the committed offsets", COMMITTED_SECONDS)
        except DeadlineExceeded as why:
            raise ServerError(f"no answer for {COMMITTED_SECONDS:.0f} s about {why}") from why

    def rewind(self, partitions: Collection[int]) -> None:
        """Go back to where the group has committed, and read from there again."""
        if not partitions:
            return
        try:
            for place in self.committed(partitions):
                offset = place.offset if place.offset >= 0 else OFFSET_BEGINNING
                self.client.seek(TopicPartition(self._topic, place.partition, offset))
        except KafkaException as error:  # no longer ours, or not yet being fetched
            self._join_anew(error)

    def places(self) -> set[Place] | None:
        """Tell, from any thread, which partitions are worked on; see `infra.process.watchdog`.

        Returns:
            None while the replica waits for its place in the group, or for a broker.
        """
        if not self.joined or self._patience.waiting:
            return None
        return {Place(self._topic, partition) for partition in self.owned}

    def close(self) -> None:
        """Leave the group."""
        self.client.close()

    def _connected(self) -> Consumer:
        member = self._patience.call(
            lambda: member_name(self._settings, "inference", [NORMALIZED]),
            "the topic that the group reads",
        )
        return consumer(
            self._settings,
            INFERENCE,
            {
                "client.id": self._name,
                "group.instance.id": member,
                "session.timeout.ms": SESSION_TIMEOUT_MS,
                "heartbeat.interval.ms": HEARTBEAT_MS,
                "max.poll.interval.ms": POLL_INTERVAL_MS,
                "queued.max.messages.kbytes": QUEUED_KB,
                "fetch.queue.backoff.ms": QUEUE_BACKOFF_MS,
            },
        )

    def _hear(self, error: KafkaError) -> None:
        """Let the client wait out what passes.

        Raises:
            KafkaException: It does not pass.
        """
        if _is_fenced(error):
            self._take_back(error)
        elif is_forbidden(error):
            raise KafkaException(error)
        else:
            _log.warning("the broker says", what=error.str())

    def _take_back(self, error: KafkaError) -> None:
        """Take the place in the group again, with another client.

        A replica can lose its place to itself: after an outage its client joins anew, the
        broker makes it another member, and an earlier question of the same client is refused
        as another process's. Of two processes with one name, each takes the place back once,
        and the first to lose it a second time ends; meanwhile the group refuses the offsets,
        and with them the predictions, of the one that has not got it.

        Raises:
            KafkaException: Another process has taken this replica's name.
        """
        now = time.monotonic()
        if now - self._lost_at < AGAIN_SECONDS:
            _log.error("another process has taken this name", name=self._name)
            raise KafkaException(error)
        self._lost_at = now
        _log.warning("takes its place in the group again", why=error.str())
        self.client.close()
        self._leave(self.owned)
        self.owned = frozenset()
        self.client = self._connected()
        self._join()

    def _join_anew(self, why: KafkaException) -> None:
        _log.warning("joins the group anew", why=str(why))
        try:
            self.client.unsubscribe()
            self._join()
        except KafkaException as error:
            if not _is_fenced(error_of(error)):
                raise
            self._take_back(error_of(error))

    def _join(self) -> None:
        self.client.subscribe(
            [self._topic],
            on_assign=self._on_assign,
            on_revoke=self._on_revoke,
            on_lost=self._on_revoke,
        )

    def _on_assign(self, _: Consumer, places: list[TopicPartition]) -> None:
        self.joined = True
        self.owned |= {place.partition for place in places}

    def _on_revoke(self, _: Consumer, places: list[TopicPartition]) -> None:
        """Others take over where the group has committed: `leave` waits for what is written."""
        partitions = {place.partition for place in places}
        self.owned -= partitions
        self._leave(partitions)


def _is_fenced(error: KafkaError) -> bool:
    return error.fatal() or error.code() in _FENCED
