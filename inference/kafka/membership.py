"""A replica's membership in the consumer group: assignment, fetching, rewinding."""

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
#: Most windows in a micro-batch: enough to make the cost of a transaction negligible.
MOST_WINDOWS: Final = 2048
#: Least time between closing two micro-batches that are not full, seconds.
AGE_SECONDS: Final = 0.05
#: Session timeout of the group, milliseconds.
SESSION_TIMEOUT_MS: Final = 15_000
#: Heartbeat interval, milliseconds. A heartbeat's response reports a rebalance, or that another
#: process has taken the replica's name.
HEARTBEAT_MS: Final = 1_000
#: Longest time between two polls of a replica that still sends heartbeats (`max.poll.interval.ms`).
POLL_INTERVAL_MS: Final = 60_000
#: Size of the client's prefetch queue per partition, kB. Records that are taken at once are in
#: memory about three times.
QUEUED_KB: Final = 16_384
#: How long the client pauses fetching when the queue is full, milliseconds. (With librdkafka's
#: default of a second, the consumer would be idle for a second whenever it processes a backlog.)
QUEUE_BACKOFF_MS: Final = 10
#: Longest poll of an idle consumer, seconds.
IDLE_SECONDS: Final = 0.25
#: A replica that is fenced a second time within this time was fenced by another process, and not by
#: its own earlier client (`Membership._take_back`), seconds.
AGAIN_SECONDS: Final = 30.0
#: Deadline for a response about committed offsets, seconds: longer than the broker keeps the open
#: transaction of a dead producer. After it, librdkafka may have lost the broker permanently.
COMMITTED_SECONDS: Final = 30.0
#: Errors by which the group reports that another member has this replica's id.
_FENCED: Final = frozenset(
    {KafkaError.FENCED_INSTANCE_ID, KafkaError._FATAL}  # noqa: SLF001  (the client's own code)
)


class Membership:
    """Reads the partitions that are assigned to this replica; owned by one thread.

    Attributes:
        client: The Kafka client; its offsets go into transactions. It is replaced whenever the
            replica rejoins after being fenced.
        owned: Assigned partitions. The set is replaced whenever they change.
        joined: Whether there was an assignment yet, even an empty one.
    """

    def __init__(
        self,
        settings: Settings,
        name: str,
        patience: RetryPolicy,
        leave: Callable[[Iterable[int]], None],
    ) -> None:
        """Join the group.

        Args:
            settings: Addresses and names.
            name: The replica's name.
            patience: Retries while the broker is unavailable.
            leave: Called with revoked partitions; once it returns, another replica may own them.
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
        """Fetch a micro-batch.

        Args:
            idle: Whether there is no other work, so that the call may block briefly.

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
        # Errors arrive among the records; a rebalance may have happened during the fetch.
        for error in [message.error() for message in messages]:
            if error is not None:
                self._hear(error)
                if self.client is not client:
                    return []
        return [m for m in messages if m.partition() in self.owned and m.error() is None]

    def offsets(self, following: dict[int, int]) -> list[TopicPartition]:
        """Return the next offsets in the client's form, for a transaction."""
        return [TopicPartition(self._topic, p, offset) for p, offset in following.items()]

    def committed(self, partitions: Iterable[int]) -> list[TopicPartition]:
        """Query the committed offsets; waits until open transactions are decided.

        Raises:
            Stopped: A stop signal arrived meanwhile.
            ServerError: No response in time; the process must restart.
            KafkaException: The query is not authorised.
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
        """Seek back to the committed offsets."""
        if not partitions:
            return
        try:
            for place in self.committed(partitions):
                offset = place.offset if place.offset >= 0 else OFFSET_BEGINNING
                self.client.seek(TopicPartition(self._topic, place.partition, offset))
        except KafkaException as error:  # no longer assigned, or not fetched yet
            self._join_anew(error)

    def places(self) -> set[Place] | None:
        """Return the partitions that are processed, see `infra.process.watchdog`; thread-safe.

        Returns:
            None while the replica has no assignment or no broker.
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
        """Ignore transient errors, which the client retries itself.

        Raises:
            KafkaException: The error is permanent.
        """
        if _is_fenced(error):
            self._take_back(error)
        elif is_forbidden(error):
            raise KafkaException(error)
        else:
            _log.warning("the broker says", what=error.str())

    def _take_back(self, error: KafkaError) -> None:
        """Rejoin the group with a new client.

        A replica can fence itself: after an outage its client rejoins, the broker assigns it a new
        member id, and an earlier request of the same client is rejected as another process's. Of
        two processes with one name, each rejoins once, and the first to be fenced a second time
        ends; meanwhile the group rejects the offsets, and with them the predictions, of the fenced
        one.

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
        """Call `leave`, which waits for the commit in flight: new owners start at that offset."""
        partitions = {place.partition for place in places}
        self.owned -= partitions
        self._leave(partitions)


def _is_fenced(error: KafkaError) -> bool:
    return error.fatal() or error.code() in _FENCED
