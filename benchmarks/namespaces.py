"""The topics and groups of a run: created with the broker's clock, emptied, removed.

A run begins as if nobody had read its input yet: no outputs, no ledger, no memory of assets, no
consumer group. What it is to read stays.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Final

from confluent_kafka import KafkaError, KafkaException
from confluent_kafka.admin import AdminClient, NewTopic

from millrace.contracts.errors import ServerError
from millrace.contracts.topics import TOPICS
from millrace.infra.kafka.clients import ANSWER_SECONDS, admin, partitions_of
from millrace.infra.kafka.errors import error_of
from millrace.infra.settings import Settings
from millrace.infra.topics.admin import create_topics

_CONFIG: Final = {
    "message.timestamp.type": "LogAppendTime",
    "max.message.bytes": str(5 << 20),
    "retention.ms": "86400000",
}
_POLL_SECONDS: Final = 0.05
_GONE_SECONDS: Final = 60.0


def create_output(settings: Settings, topic: str) -> None:
    """Create a topic whose records the broker stamps; one that exists stays."""
    made = NewTopic(
        settings.named(topic),
        num_partitions=settings.kafka_partitions,
        replication_factor=settings.kafka_replication,
        config=_CONFIG,
    )
    client = admin(settings)
    for future in client.create_topics([made], operation_timeout=ANSWER_SECONDS).values():
        try:
            future.result(timeout=2 * ANSWER_SECONDS)
        except KafkaException as error:
            if error_of(error).code() != KafkaError.TOPIC_ALREADY_EXISTS:
                raise ServerError(f"topic {topic}: {error}") from error
    _await_partitions(client, settings.named(topic))


def _await_partitions(client: AdminClient, name: str) -> None:
    """Wait until clients can use a topic: brokers answer before all of them know.

    Raises:
        ServerError: They cannot, after some time.
    """
    patience = time.monotonic() + ANSWER_SECONDS
    while True:
        try:
            partitions_of(client, name)
        except ServerError:
            if time.monotonic() > patience:
                raise
            time.sleep(_POLL_SECONDS)
        else:
            return


def remove_topics(settings: Settings, keep: Sequence[str] = ()) -> None:
    """Remove all topics of a namespace but some, and wait until they are gone.

    Args:
        settings: The namespace.
        keep: Names of topics that stay, without the namespace.
    """
    client = admin(settings)
    kept = {settings.named(name) for name in keep}
    prefix = f"{settings.namespace}."
    _remove(client, [n for n in _names(client) if n.startswith(prefix) and n not in kept])


def remove_topic(settings: Settings, topic: str) -> None:
    """Remove one topic of a namespace, and wait until it is gone."""
    _remove(admin(settings), [settings.named(topic)])


def _remove(client: AdminClient, names: list[str]) -> None:
    if not names:
        return
    for future in client.delete_topics(names, operation_timeout=ANSWER_SECONDS).values():
        future.result(timeout=2 * ANSWER_SECONDS)
    patience = time.monotonic() + _GONE_SECONDS
    while set(names) & set(_names(client)):
        if time.monotonic() > patience:
            raise ServerError(f"topics are not removed by the broker: {names}")
        time.sleep(_POLL_SECONDS)


def remove_group(settings: Settings, group: str) -> None:
    """Forget a consumer group, once the broker has missed its last member.

    Raises:
        ServerError: It stays in use.
    """
    client = admin(settings)
    patience = time.monotonic() + _GONE_SECONDS
    while True:
        (future,) = client.delete_consumer_groups([settings.named(group)]).values()
        try:
            future.result(timeout=ANSWER_SECONDS)
        except KafkaException as error:
            code = error_of(error).code()
            if code == KafkaError.GROUP_ID_NOT_FOUND:
                return
            if code != KafkaError.NON_EMPTY_GROUP or time.monotonic() > patience:
                raise ServerError(f"group {group}: {error}") from error
        else:
            return
        time.sleep(_POLL_SECONDS * 4)


def renew(settings: Settings, group: str, output: str, keep: Sequence[str]) -> None:
    """Make a namespace as if nobody had read its input yet.

    Args:
        settings: The namespace.
        group: Consumer group that is to start anew.
        output: The topic that is measured, created with the broker's clock.
        keep: Topics that stay as they are: the input, and the registry.
    """
    remove_group(settings, group)
    remove_topics(settings, keep)
    create_output(settings, output)
    create_topics(admin(settings), settings, TOPICS)


def _names(client: AdminClient) -> list[str]:
    return list(client.list_topics(timeout=ANSWER_SECONDS).topics)
