"""A transactional producer beside Millrace's own: somebody else's, or one with its name."""

from confluent_kafka import Producer

from millrace.infra.kafka.clients import (
    ANSWER_SECONDS,
    TRANSACTION_RETRY_MS,
    TRANSACTION_TIMEOUT_MS,
    producer,
)
from millrace.infra.settings import Settings


def transactional_producer(settings: Settings, transactional_id: str) -> Producer:
    """Build a producer whose writes and offsets commit together or not at all.

    Initialising it fences whoever used the same id before, and aborts what it left open.
    """
    made = producer(
        settings,
        {
            "transactional.id": settings.named(transactional_id),
            "transaction.timeout.ms": TRANSACTION_TIMEOUT_MS,
            "linger.ms": 0,
            "retry.backoff.ms": TRANSACTION_RETRY_MS,
        },
    )
    made.init_transactions(ANSWER_SECONDS)
    return made
