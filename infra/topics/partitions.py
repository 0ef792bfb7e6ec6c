"""The number of partitions of the topics keyed by asset, and how it grows.

All of them have the same number: a service writes to the partition that it read from, and the
state of a partition's assets is in the changelog's partition of the same number. So they grow
together, in the order of `GROWN_IN`: an output topic has a partition before a record can be read
from the same partition of its source. Between two steps nothing is lost: a service that sees
different numbers ends (`infra.process.partition_watch`), and waits at its start until they are
equal again.

>>> uneven({"sensor.windows": 4, "predictions": 4})
>>> print(uneven({"sensor.windows": 8, "predictions": 4}))
topics keyed by asset must have the same number of partitions, but predictions has 4, \
sensor.windows has 8: run `millrace topics grow 8`
>>> plan({"sensor.windows": 8, "predictions": 4}, 8)
[Step(topic='predictions', before=4, after=8)]
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any, Final, NamedTuple

from confluent_kafka import Consumer, KafkaException
from confluent_kafka.admin import AdminClient, NewPartitions

from millrace.contracts.errors import ServerError, SettingsError
from millrace.contracts.topics import TOPICS, Topic
from millrace.infra.kafka.clients import ANSWER_SECONDS
from millrace.infra.settings import Settings

#: Topics keyed by asset, each after its output topics: changelog first, windows last.
GROWN_IN: Final = tuple(topic for topic in reversed(TOPICS) if topic.by_asset)


#: Pause between two requests to a broker, seconds.
_BACK_OFF_SECONDS: Final = 0.05


class Step(NamedTuple):
    """A topic that gets more partitions."""

    topic: str
    before: int
    after: int


def partition_counts(
    client: AdminClient | Consumer, settings: Settings, seconds: float = ANSWER_SECONDS
) -> dict[str, int]:
    """Query the numbers of partitions of the topics keyed by asset.

    Returns:
        Partitions by full name, in the order of `GROWN_IN`; missing topics are left out.

    Raises:
        ServerError: No broker answers.
    """
    try:
        known = client.list_topics(timeout=seconds).topics
    except KafkaException as error:
        raise ServerError(f"Kafka does not say what topics there are: {error}") from error
    names = [settings.named(topic.name) for topic in GROWN_IN]
    counts = {name: len(known[name].partitions) for name in names if name in known}
    return {name: count for name, count in counts.items() if count}


def uneven(counts: Mapping[str, int]) -> str | None:
    """Name the topics whose numbers of partitions differ, and the remedy; None if none do."""
    if len(set(counts.values())) <= 1:
        return None
    listed = ", ".join(
        f"{name} has {count}"
        for name, count in sorted(counts.items(), key=lambda item: (item[1], item[0]))
    )
    return (
        f"topics keyed by asset must have the same number of partitions, but {listed}:"
        f" run `millrace topics grow {max(counts.values())}`"
    )


def even_partitions(
    client: AdminClient | Consumer, settings: Settings, seconds: float = ANSWER_SECONDS
) -> int:
    """Query the common number of partitions of the topics keyed by asset.

    Raises:
        ServerError: The numbers differ, there is no such topic, or no broker answers.
    """
    counts = partition_counts(client, settings, seconds)
    problem = uneven(counts) if counts else "no topic keyed by asset is there"
    if problem is not None:
        raise ServerError(problem)
    return max(counts.values())


def plan(counts: Mapping[str, int], wanted: int) -> list[Step]:
    """Plan which topics get more partitions, in which order; none if all have them.

    Args:
        counts: Partitions by name, in the order in which topics grow.
        wanted: The number of partitions that each should have.

    Raises:
        SettingsError: A topic has more: Kafka cannot remove partitions.
    """
    more = {name: count for name, count in counts.items() if count > wanted}
    if more:
        listed = ", ".join(f"{name} has {count}" for name, count in more.items())
        raise SettingsError(
            f"{listed}, and Kafka takes no partition away: ask for {max(more.values())} or more"
        )
    return [Step(name, count, wanted) for name, count in counts.items() if count < wanted]


def grow(client: AdminClient, step: Step) -> None:
    """Add a topic's new partitions; on return clients can use them.

    Raises:
        ServerError: Kafka refuses, or does not answer, or a partition gets no leader.
    """
    asked: Any = client.create_partitions(
        [NewPartitions(step.topic, step.after)],
        operation_timeout=ANSWER_SECONDS,
        request_timeout=2 * ANSWER_SECONDS,
    )
    try:
        asked[step.topic].result(timeout=3 * ANSWER_SECONDS)
    except TimeoutError as error:
        raise ServerError(f"topic {step.topic}: Kafka does not answer") from error
    except KafkaException as error:
        raise ServerError(f"topic {step.topic}: {error}") from error
    patience = time.monotonic() + ANSWER_SECONDS
    while not _led(client, step):  # not all brokers know the new partitions at once
        if time.monotonic() > patience:
            raise ServerError(
                f"topic {step.topic}: not all of {step.after} partitions have a leader;"
                " look at the brokers' logs"
            )
        time.sleep(_BACK_OFF_SECONDS)


def _led(client: AdminClient, step: Step) -> bool:
    """Whether a topic has its partitions, each with a leader."""
    try:
        known = client.list_topics(step.topic, timeout=ANSWER_SECONDS).topics[step.topic]
    except KafkaException as error:
        raise ServerError(f"topic {step.topic}: {error}") from error
    led = [one for one in known.partitions.values() if one.leader >= 0]
    return known.error is None and len(led) >= step.after


def wanted_partitions(topic: Topic, settings: Settings, counts: Mapping[str, int]) -> int:
    """Partitions of a topic that is being created: as many as the existing ones have.

    Args:
        topic: The topic.
        settings: The number for the first topics.
        counts: Partitions of the existing topics keyed by asset.
    """
    if not topic.by_asset:
        return 1
    return max(counts.values(), default=settings.kafka_partitions)
