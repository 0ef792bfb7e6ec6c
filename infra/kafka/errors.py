"""Classifies errors of Kafka clients: transient ones, and the meaning of the others."""

from __future__ import annotations

from typing import Final

from confluent_kafka import (
    KafkaError,
    KafkaException,
    Message,
)

#: A partition has no leader yet, or the client's leader is out of date.
_LEADERLESS: Final = frozenset(
    {KafkaError.NOT_LEADER_FOR_PARTITION, KafkaError.LEADER_NOT_AVAILABLE}
)
#: A broker is unavailable, starts, or moves a coordinator; or a request timed out.
_TRANSIENT: Final = frozenset(
    {
        *_LEADERLESS,
        KafkaError._ALL_BROKERS_DOWN,
        KafkaError._PARTIAL,
        KafkaError._RESOLVE,
        KafkaError._TIMED_OUT,
        KafkaError._TIMED_OUT_QUEUE,
        KafkaError._TRANSPORT,
        KafkaError._WAIT_COORD,
        KafkaError.BROKER_NOT_AVAILABLE,
        KafkaError.CONCURRENT_TRANSACTIONS,
        KafkaError.COORDINATOR_LOAD_IN_PROGRESS,
        KafkaError.COORDINATOR_NOT_AVAILABLE,
        KafkaError.NETWORK_EXCEPTION,
        KafkaError.NOT_COORDINATOR,
        KafkaError.REQUEST_TIMED_OUT,
        KafkaError.UNSTABLE_OFFSET_COMMIT,
    }
)
#: The log does not have the offset that is to be read, or lost its end before it.
_OUT_OF_RANGE: Final = frozenset(
    {KafkaError.OFFSET_OUT_OF_RANGE, KafkaError._AUTO_OFFSET_RESET, KafkaError._LOG_TRUNCATION}
)
#: The topic was deleted.
_UNKNOWN_TOPIC: Final = frozenset(
    {
        KafkaError.UNKNOWN_TOPIC_OR_PART,
        KafkaError.UNKNOWN_TOPIC_ID,  # type: ignore[attr-defined]  # the stubs lack it
        KafkaError._UNKNOWN_TOPIC,
        KafkaError._UNKNOWN_PARTITION,
    }
)
#: Another producer has taken the transactional id over.
_FENCED: Final = frozenset(
    {KafkaError._FENCED, KafkaError.PRODUCER_FENCED, KafkaError.INVALID_PRODUCER_EPOCH}
)
#: Kafka refuses by its access rules: repeating the request changes nothing.
_FORBIDDEN: Final = frozenset(
    {
        KafkaError.CLUSTER_AUTHORIZATION_FAILED,
        KafkaError.GROUP_AUTHORIZATION_FAILED,
        KafkaError.TOPIC_AUTHORIZATION_FAILED,
        KafkaError.TRANSACTIONAL_ID_AUTHORIZATION_FAILED,
    }
)


def error_of(failure: KafkaException) -> KafkaError:
    """Extract Kafka's error from an exception of the client."""
    cause = failure.args[0]
    return cause if isinstance(cause, KafkaError) else KafkaError(KafkaError._FAIL, str(cause))


def raise_error(message: Message) -> None:
    """Turn a consumer's error message into an exception, unless it is transient.

    Raises:
        KafkaException: The client cannot continue.
    """
    error = message.error()
    if error is None or is_partition_end(error) or is_transient(error):
        return
    raise KafkaException(error)


def is_transient(error: KafkaError) -> bool:
    """Whether the same request may succeed when it is retried."""
    if error.fatal() or error.txn_requires_abort():
        return False
    return error.retriable() or error.code() in _TRANSIENT


def is_leaderless(error: KafkaError) -> bool:
    """Whether a partition has no leader yet, or its leader has just changed."""
    return error.code() in _LEADERLESS


def is_partition_end(error: KafkaError) -> bool:
    """Whether this is no error, but a partition-end event, which a client can subscribe to."""
    return error.code() == KafkaError._PARTITION_EOF


def is_fenced(error: KafkaError) -> bool:
    """Whether another producer has taken a transactional id over."""
    return error.code() in _FENCED


def is_forbidden(error: KafkaError) -> bool:
    """Whether Kafka's access rules refuse the request."""
    return error.code() in _FORBIDDEN


def is_out_of_range(error: KafkaError) -> bool:
    """Whether a log does not have the offset that is to be read, or lost its end before it."""
    return error.code() in _OUT_OF_RANGE


def is_undecompressible(error: KafkaError) -> bool:
    """Whether a record batch cannot be decompressed, or only beyond the client's bound."""
    return error.code() == KafkaError._BAD_COMPRESSION


def is_unknown_topic(error: KafkaError) -> bool:
    """Whether a topic that is read was deleted, or created anew."""
    return error.code() in _UNKNOWN_TOPIC
