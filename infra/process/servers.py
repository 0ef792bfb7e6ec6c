"""Waits at start-up for unavailable servers: a process started in an outage continues after it.

Exiting and being restarted would work, too, but each start costs seconds, and a start that is
in progress when the server returns delays the recovery.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from typing import Final, TypeVar

import structlog
from confluent_kafka import KafkaError, KafkaException

from millrace.contracts.errors import ServerError
from millrace.contracts.topics import Topic
from millrace.infra.kafka.clients import reader
from millrace.infra.kafka.errors import error_of
from millrace.infra.kafka.refusals import Told, kafka_trouble
from millrace.infra.kafka.retry import Stopped
from millrace.infra.object_store import ObjectStore
from millrace.infra.settings import Settings
from millrace.infra.topics.ids import member_name
from millrace.infra.topics.partitions import even_partitions

_log = structlog.get_logger(__name__)
T = TypeVar("T")

#: Timeout of a request: a broker that has just come back may never answer the first one.
_ASK_SECONDS: Final = 5.0
_BACK_OFF_SECONDS: Final = 0.5
#: Interval at which waiting is logged again.
_TELL_SECONDS: Final = 30.0


def await_kafka(settings: Settings, topics: Sequence[Topic], stop: threading.Event) -> None:
    """Wait until a broker answers and topics have leaders; log the reason while waiting.

    Args:
        settings: Where Kafka is.
        topics: The required topics.
        stop: Gives up when set.

    Raises:
        Stopped: ``stop`` was set.
    """
    # The client would log every refused connection; this function logs it once.
    told: list[Told] = []

    def hear(error: KafkaError) -> None:
        told.append(Told(error.name(), error.str()))

    client = reader(settings, {"log_level": 0, "error_cb": hear})
    names = [settings.named(topic.name) for topic in topics]

    def missing() -> str | None:
        told.clear()
        try:
            known = client.list_topics(timeout=_ASK_SECONDS).topics
        except KafkaException as failure:
            client.poll(0)  # calls `hear` with the client's errors
            error = error_of(failure)
            return kafka_trouble([*told, Told(error.name(), error.str())], settings)
        without = [
            name
            for name in names
            if name not in known or any(p.leader < 0 for p in known[name].partitions.values())
        ]
        return f"no topic or no leader: {', '.join(without)}" if without else None

    try:
        _await(f"Kafka ({settings.kafka_bootstrap_servers})", missing, stop)
    finally:
        client.close()


def await_partitions(settings: Settings, stop: threading.Event) -> int:
    """Wait until all topics keyed by asset have as many partitions; log the difference meanwhile.

    Args:
        settings: Where Kafka is.
        stop: Gives up when set.

    Returns:
        Their number of partitions.

    Raises:
        Stopped: ``stop`` was set.
    """
    client = reader(settings, {"log_level": 0})
    try:
        return _await_answer(
            "topics with equal partitions",
            lambda: even_partitions(client, settings, _ASK_SECONDS),
            stop,
        )
    finally:
        client.close()


def await_member_name(
    settings: Settings, service: str, topics: Sequence[Topic], stop: threading.Event
) -> str:
    """Wait until a process can be named in its group; see `infra.topics.ids.member_name`.

    Args:
        settings: Where Kafka is, and which replica this is.
        service: The service.
        topics: Topics of the group.
        stop: Gives up when set.

    Returns:
        The name.

    Raises:
        Stopped: ``stop`` was set.
    """
    return _await_answer(
        "the topics that the group reads",
        lambda: member_name(settings, service, topics, _ASK_SECONDS),
        stop,
    )


def await_store(settings: Settings, stop: threading.Event) -> None:
    """Wait until the object store answers and the bucket exists, which is created if missing.

    Args:
        settings: Where the object store is.
        stop: Gives up when set.

    Raises:
        Stopped: ``stop`` was set.
    """
    store = ObjectStore(settings)

    def missing() -> str | None:
        try:
            store.create_bucket()
        except ServerError as error:
            return str(error)
        return None

    _await(f"the object store ({settings.s3_endpoint})", missing, stop)


def _await_answer(what: str, ask: Callable[[], T], stop: threading.Event) -> T:
    """Retry a request until there is an answer."""
    found: list[T] = []

    def missing() -> str | None:
        try:
            found.append(ask())
        except ServerError as error:
            return str(error)
        return None

    _await(what, missing, stop)
    return found[0]


def _await(what: str, missing: Callable[[], str | None], stop: threading.Event) -> None:
    begin = time.monotonic()
    told = begin - _TELL_SECONDS
    while (why := missing()) is not None:
        if time.monotonic() - told >= _TELL_SECONDS:
            told = time.monotonic()
            _log.warning("waiting for a server", server=what, why=why)
        if stop.wait(_BACK_OFF_SECONDS):
            raise Stopped(what)
    waited = time.monotonic() - begin
    if told >= begin:
        _log.info("server is there", server=what, waited_seconds=round(waited, 1))
