"""Kafka through librdkafka: the settings that the guarantees depend on, in one place.

Every consumer starts at the earliest record and commits only explicitly; every producer is
idempotent, requires acknowledgement by all in-sync replicas, compresses with zstd and partitions
as Java and Faust do (murmur2).
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from threading import Thread
from typing import Any, Final, TypeVar

import structlog
from confluent_kafka import (
    Consumer,
    KafkaError,
    KafkaException,
    Producer,
    TopicPartition,
)
from confluent_kafka.admin import AdminClient

from millrace.contracts.errors import ServerError
from millrace.contracts.topics import MAX_RECORD_BYTES, Topic
from millrace.infra.kafka.errors import error_of, is_leaderless
from millrace.infra.settings import Settings

_log = structlog.get_logger(__name__)
T = TypeVar("T")

#: How long the broker holds a fetch without records open, milliseconds. With the default 500, a
#: client that switches to other partitions is delayed by the open fetch of the former ones.
OPEN_MS: Final = 10
#: Timeout of requests for metadata or offsets, seconds.
ANSWER_SECONDS: Final = 15.0
#: The broker aborts a transaction that is open for longer, milliseconds.
TRANSACTION_TIMEOUT_MS: Final = 15_000
#: The broker completes a transaction after it has acknowledged the commit, and refuses the next
#: one until then. librdkafka's default retries after 100 ms: measured, that is 105 ms for every
#: micro-batch, against 7 ms with this.
TRANSACTION_RETRY_MS: Final = 5
#: Longest reconnect backoff of a client that lost its broker, milliseconds. librdkafka's default
#: lets it grow to 10 s plus 50 %, which would be most of the time between a broker's return and
#: the resumption of work.
RECONNECT_MS: Final = 1_000
#: Shortest interval between two reports of the same kind of error.
_TELL_SECONDS: Final = 30.0
_BACK_OFF_SECONDS: Final = 0.05


class _Outage:
    """Logs that brokers are unavailable or refuse us: rate-limited, for all clients together."""

    def __init__(self) -> None:
        self._told: dict[int, float] = {}

    def tell(self, error: KafkaError) -> None:
        """Handle an error from which a client recovers by itself."""
        now = time.monotonic()
        if now - self._told.get(error.code(), -_TELL_SECONDS) >= _TELL_SECONDS:
            self._told[error.code()] = now
            _log.warning("Kafka is away, or refuses", error=error.name(), why=error.str())


_outage = _Outage()


def client_config(settings: Settings) -> dict[str, Any]:
    """Settings that every client shares: addresses, SASL, TLS."""
    config: dict[str, Any] = {
        "bootstrap.servers": settings.kafka_bootstrap_servers,
        "security.protocol": settings.kafka_security_protocol,
        # The client itself would log each refused connection of each of its threads.
        "log_level": 2,
        "error_cb": _outage.tell,
        "reconnect.backoff.max.ms": RECONNECT_MS,
    }
    if settings.kafka_security_protocol.startswith("SASL"):
        config["sasl.mechanism"] = settings.kafka_sasl_mechanism
        config["sasl.username"] = settings.kafka_sasl_username
        config["sasl.password"] = settings.kafka_sasl_password.get_secret_value()
    for name, path in (
        ("ssl.ca.location", settings.kafka_ssl_ca),
        ("ssl.certificate.location", settings.kafka_ssl_certificate),
        ("ssl.key.location", settings.kafka_ssl_key),
    ):
        if path is not None:
            config[name] = str(path)
    return config


def producer(settings: Settings, more: Mapping[str, Any] | None = None) -> Producer:
    """Build an idempotent producer."""
    return Producer(
        {
            **client_config(settings),
            "enable.idempotence": True,
            "acks": "all",
            "compression.type": "zstd",
            "linger.ms": 5,
            "partitioner": "murmur2_random",
            "message.max.bytes": MAX_RECORD_BYTES,
            **(more or {}),
        }
    )


def consumer(settings: Settings, group: str, more: Mapping[str, Any] | None = None) -> Consumer:
    """Build a consumer that reads committed records and commits only explicitly."""
    return Consumer(_consumer_config(settings, group, more or {}))


def _consumer_config(settings: Settings, group: str, more: Mapping[str, Any]) -> dict[str, Any]:
    return {
        **client_config(settings),
        "group.id": settings.named(group),
        "auto.offset.reset": "earliest",
        "enable.auto.commit": False,
        "enable.auto.offset.store": False,
        "isolation.level": "read_committed",
        "enable.partition.eof": False,
        "partition.assignment.strategy": "cooperative-sticky",
        **more,
    }


class Reader(Consumer):
    """A consumer without a group. `close` runs in the background, because it may block a second.

    Measured: every second or third librdkafka client that is closed soon after a response takes a
    second to close, whatever its settings. This would delay a caller that only reads offsets.
    """

    def close(self) -> None:
        """Close in a background thread; call it once."""
        Thread(target=super().close, name="reader's end", daemon=True).start()


def reader(settings: Settings, more: Mapping[str, Any] | None = None) -> Reader:
    """Build a consumer without a group, for reading partitions from any offset."""
    return Reader(
        _consumer_config(
            settings,
            "millrace.reader",
            {"partition.assignment.strategy": "range", **(more or {})},
        )
    )


def admin(settings: Settings) -> AdminClient:
    """Build an administrative client."""
    return AdminClient(client_config(settings))


def ask_admin(settings: Settings, question: Callable[[AdminClient], T]) -> T:
    """Make a request with a new administrative client, which is closed in the background.

    See `Reader`. Such a client is closed when the last reference to it is dropped: ``question``
    must keep none.
    """
    held = [admin(settings)]
    try:
        return question(held[0])
    finally:
        Thread(target=held.clear, name="admin client's end", daemon=True).start()


def partitions_of(client: Consumer | AdminClient | Producer, topic: str) -> list[int]:
    """List a topic's partitions.

    Raises:
        ServerError: No broker answers, or the topic does not exist.
    """
    try:
        metadata = client.list_topics(topic, timeout=ANSWER_SECONDS)
    except KafkaException as error:
        raise ServerError(f"Kafka does not answer: {error}") from error
    described = metadata.topics[topic]
    if described.error is not None:
        if described.error.code() == KafkaError.TOPIC_AUTHORIZATION_FAILED:
            raise ServerError(
                f"Kafka does not allow this user to see topic {topic}: give it the right with an"
                " ACL, or check MILLRACE_KAFKA_SASL_USERNAME"
            )
        raise ServerError(
            f"topic {topic} is not there ({described.error.str()});"
            " start the system (`make up`), or create it with `millrace topics create`"
        )
    return sorted(described.partitions)


def watermarks(client: Consumer, place: TopicPartition) -> tuple[int, int]:
    """Query a partition's first offset and the offset after its last record.

    A partition that was just created, or whose leader just moved, refuses for a moment: the
    request is retried for `ANSWER_SECONDS`.

    Raises:
        ServerError: No answer within that time, or a refusal that is not transient.
    """
    patience = time.monotonic() + ANSWER_SECONDS
    while True:
        try:
            return client.get_watermark_offsets(place, timeout=ANSWER_SECONDS)
        except KafkaException as error:
            if not is_leaderless(error_of(error)) or time.monotonic() > patience:
                raise ServerError(
                    f"topic {place.topic}, partition {place.partition}: {error}"
                ) from error
            client.list_topics(place.topic, timeout=ANSWER_SECONDS)  # learn the new leader
            time.sleep(_BACK_OFF_SECONDS)


def first_offset(settings: Settings, topic: Topic, partition: int) -> int:
    """Query the first offset that a partition still has.

    Raises:
        ServerError: See `watermarks`.
    """
    client = reader(settings)
    try:
        return watermarks(client, TopicPartition(settings.named(topic.name), partition))[0]
    finally:
        client.close()


def whole_ms(seconds: float) -> float:
    """Round a timeout up to whole milliseconds, the resolution of librdkafka.

    librdkafka truncates a fraction of a millisecond to 0, so a loop that waits until a deadline
    would spin for the last fraction: a fifth of a core if that happens every 5 ms. A negative
    timeout becomes 0; librdkafka would wait without limit.

    >>> whole_ms(0.0042), whole_ms(0.005), whole_ms(0.0), whole_ms(-0.2)
    (0.005, 0.005, 0.0, 0.0)
    """
    return max(0, math.ceil(seconds * 1000)) / 1000
