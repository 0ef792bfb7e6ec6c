"""The first request to Kafka at start-up; reports a refusal as one clear sentence."""

from __future__ import annotations

import time
from typing import Final

from confluent_kafka import KafkaError, KafkaException

from millrace.contracts.errors import ServerError
from millrace.infra.kafka.clients import reader
from millrace.infra.kafka.errors import error_of
from millrace.infra.kafka.refusals import LASTING, Told, kafka_trouble
from millrace.infra.settings import Settings

#: Time limit for a broker's answer, and timeout of one request, seconds.
SECONDS: Final = 10.0
_ASK_SECONDS: Final = 1.0


def shake_hands(settings: Settings, seconds: float = SECONDS) -> None:
    """Check that a broker answers and accepts the client.

    A lasting error, such as a wrong password, is raised at once; otherwise the request is retried
    until the time is over.

    Args:
        settings: Where Kafka is, and the credentials.
        seconds: How long to wait for an answer.

    Raises:
        ServerError: No broker does; names the reason, and the setting to change.
    """
    told: list[Told] = []

    def hear(error: KafkaError) -> None:
        told.append(Told(error.name(), error.str()))

    until = time.monotonic() + seconds
    try:
        client = reader(settings, {"error_cb": hear, "log_level": 0})
    except KafkaException as failure:
        error = error_of(failure)
        raise ServerError(kafka_trouble([Told(error.name(), error.str())], settings)) from failure
    try:
        while True:
            try:
                client.list_topics(timeout=_ASK_SECONDS)
            except KafkaException as failure:
                client.poll(0)  # calls `hear` with the client's errors
                error = error_of(failure)
                lasting = any(one.name in LASTING for one in told)
                if lasting or time.monotonic() > until:
                    heard = [*told, Told(error.name(), error.str())]
                    raise ServerError(kafka_trouble(heard, settings)) from failure
            else:
                return
    finally:
        client.close()
