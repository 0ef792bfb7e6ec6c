"""A transactional producer beside Millrace's own: somebody else's, or one with its name."""

from typing import Final

from confluent_kafka import Producer

from infra.kafka import TRANSACTION_RETRY_MS, TRANSACTION_TIMEOUT_MS, producer
from infra.settings import Settings

_ANSWER_SECONDS: Final = 15.0


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
    made.init_transactions(_ANSWER_SECONDS)
    return made
