"""Creates the declared topics, as often as it is asked to."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Final

from confluent_kafka import KafkaError, KafkaException
from confluent_kafka.admin import AdminClient, NewTopic, TopicMetadata

from contracts.errors import ServerError
from contracts.topics import TOPICS, Topic
from infra.kafka import ANSWER_SECONDS, error_of
from infra.partitions import partition_counts, uneven, wanted_partitions
from infra.settings import Settings

#: Kafka refuses records that are more than an hour ahead of its own clock, unless told not to: an
#: edge or a service whose clock is wrong would lose its records, or not run at all.
ANY_TIME_AHEAD_MS: Final = (1 << 63) - 1
#: How long to leave a broker alone between two questions, seconds.
_BACK_OFF_SECONDS: Final = 0.05
#: Refusals of a topic that pass by themselves.
_PASSING: Final = frozenset({KafkaError.INVALID_REPLICATION_FACTOR})


def topic_config(topic: Topic) -> dict[str, str]:
    """Kafka's settings of a declared topic."""
    return {
        "retention.ms": str(topic.retention_ms),
        "cleanup.policy": "compact" if topic.compacted else "delete",
        "max.message.bytes": str(topic.max_bytes),
        "message.timestamp.after.max.ms": str(ANY_TIME_AHEAD_MS),
        **dict(topic.more),
    }


def create_topics(
    client: AdminClient, settings: Settings, topics: Sequence[Topic] = TOPICS
) -> list[str]:
    """Create the topics that are not there yet; those that are stay as they are.

    A topic keyed by asset gets as many partitions as the others have.

    Returns:
        Names of the topics that this call created.

    Raises:
        ServerError: A topic could not be created, gets no leader, or has other partitions
            than the rest; or nobody answers.
    """
    counts = partition_counts(client, settings)
    wanted = [
        NewTopic(
            settings.named(topic.name),
            num_partitions=wanted_partitions(topic, settings, counts),
            replication_factor=settings.kafka_replication,
            config=topic_config(topic),
        )
        for topic in topics
    ]
    created = _create(client, wanted)
    _await_leaders(client, [topic.topic for topic in wanted])
    problem = uneven(partition_counts(client, settings))
    if problem is not None:
        raise ServerError(problem)
    return created


def _create(client: AdminClient, wanted: Sequence[NewTopic]) -> list[str]:
    """Ask for topics; again, while no broker is there that could take them.

    A controller that has just started answers before it trusts any broker ("all brokers are
    currently fenced"), and a cluster's brokers come one after the other: both are told as too
    few brokers for the replication, which passes.
    """
    patience = time.monotonic() + ANSWER_SECONDS
    created = []
    waiting = {topic.topic: topic for topic in wanted}
    while waiting:
        answers = client.create_topics(
            list(waiting.values()),
            operation_timeout=ANSWER_SECONDS,
            request_timeout=2 * ANSWER_SECONDS,
        )
        for name, answer in answers.items():
            try:
                # The client's own limit comes first; this one is for a client that hangs.
                answer.result(timeout=3 * ANSWER_SECONDS)
            except TimeoutError as error:
                raise ServerError(f"topic {name}: Kafka does not answer") from error
            except KafkaException as error:
                code = error_of(error).code()
                if code in _PASSING and time.monotonic() < patience:
                    continue
                if code != KafkaError.TOPIC_ALREADY_EXISTS:
                    raise ServerError(f"topic {name}: {error}") from error
            else:
                created.append(name)
            del waiting[name]
        if waiting:
            time.sleep(_BACK_OFF_SECONDS)
    return created


def _topics(client: AdminClient) -> dict[str, TopicMetadata]:
    """Ask what topics there are."""
    try:
        return client.list_topics(timeout=ANSWER_SECONDS).topics
    except KafkaException as error:
        raise ServerError(f"Kafka does not say what topics there are: {error}") from error


def _await_leaders(client: AdminClient, names: Sequence[str]) -> None:
    """Wait until clients can use the topics: brokers answer before all of them know."""
    patience = time.monotonic() + ANSWER_SECONDS
    while True:
        known = _topics(client)
        waiting = [
            name
            for name in names
            if name not in known
            or known[name].error is not None
            or any(part.leader < 0 for part in known[name].partitions.values())
        ]
        if not waiting:
            return
        if time.monotonic() > patience:
            raise ServerError(f"topics {waiting} have no leader; look at the brokers' logs")
        time.sleep(_BACK_OFF_SECONDS)
