"""Creates the declared topics, idempotently, and checks existing ones.

An existing topic is used as it is if its settings keep the guarantees (`infra.topics.settings`):
settings that break a guarantee are an error, settings that may break one are a warning. The
brokers are queried when topics are created or listed, and never on a schedule (see
docs/outages.md).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Final

import structlog
from confluent_kafka import KafkaError, KafkaException
from confluent_kafka.admin import (
    AdminClient,
    ConfigResource,
    NewTopic,
    ResourceType,
    TopicMetadata,
)

from millrace.contracts.errors import ServerError
from millrace.contracts.topics import TOPICS, Topic
from millrace.infra.kafka.clients import ANSWER_SECONDS
from millrace.infra.kafka.errors import error_of
from millrace.infra.settings import Settings
from millrace.infra.topics.partitions import partition_counts, uneven, wanted_partitions
from millrace.infra.topics.settings import Finding, compare, topic_config

_log = structlog.get_logger(__name__)
#: Pause between two requests to a broker, seconds.
_BACK_OFF_SECONDS: Final = 0.05
#: Transient refusals of a topic.
_PASSING: Final = frozenset({KafkaError.INVALID_REPLICATION_FACTOR})
#: Errors for a client that may not read a topic's settings.
_FORBIDDEN: Final = frozenset(
    {KafkaError.TOPIC_AUTHORIZATION_FAILED, KafkaError.CLUSTER_AUTHORIZATION_FAILED}
)


def log_finding(finding: Finding) -> None:
    """Log a setting of a topic that may break a guarantee."""
    _log.warning("topic setting", why=str(finding))


def create_topics(
    client: AdminClient,
    settings: Settings,
    topics: Sequence[Topic] = TOPICS,
    warn: Callable[[Finding], None] = log_finding,
) -> list[str]:
    """Create missing topics; existing ones are not changed.

    A topic keyed by asset gets as many partitions as the others have.

    Args:
        client: The client that makes the requests.
        settings: Names, partitions and replication.
        topics: The required topics.
        warn: Called with each setting of an existing topic that may break a guarantee; logs it by
            default.

    Returns:
        Names of the topics that this call created.

    Raises:
        ServerError: A topic could not be created, gets no leader, has another number of
            partitions than the rest, or settings that break a guarantee; or no broker answers.
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
    older = [topic for topic in topics if settings.named(topic.name) not in created]
    found = settings_of(client, [settings.named(topic.name) for topic in older])
    _judge(settings_findings(client, settings, older, found), warn)
    return created


def settings_of(client: AdminClient, names: Sequence[str]) -> dict[str, dict[str, str] | None]:
    """Query the settings of topics.

    Returns:
        Kafka's names and values, by topic; None for a topic whose settings we may not read.

    Raises:
        ServerError: No broker answers, or a topic does not exist.
    """
    if not names:
        return {}
    resources = [ConfigResource(ResourceType.TOPIC, name) for name in names]
    answers = client.describe_configs(resources, request_timeout=ANSWER_SECONDS)
    found: dict[str, dict[str, str] | None] = {}
    for resource, answer in answers.items():
        try:
            # The client's own limit comes first; this one is for a client that hangs.
            entries = answer.result(timeout=2 * ANSWER_SECONDS)
        except TimeoutError as error:
            raise ServerError(f"topic {resource.name}: Kafka does not answer") from error
        except KafkaException as error:
            if error_of(error).code() not in _FORBIDDEN:
                raise ServerError(f"topic {resource.name}: {error}") from error
            found[resource.name] = None
        else:
            found[resource.name] = {name: entry.value for name, entry in entries.items()}
    return found


def settings_findings(
    client: AdminClient,
    settings: Settings,
    topics: Sequence[Topic],
    found: Mapping[str, dict[str, str] | None],
) -> list[Finding]:
    """Compare the settings of existing topics with the requirements.

    Args:
        client: Queries the replication of the topics.
        settings: Names and addresses.
        topics: The topics.
        found: Their settings; see `settings_of`.

    Raises:
        ServerError: No broker answers.
    """
    there = _topics(client) if topics else {}
    servers = settings.kafka_bootstrap_servers
    findings: list[Finding] = []
    for topic in topics:
        name = settings.named(topic.name)
        values = found[name]
        if values is None:
            findings.append(_unknown(name))
            continue
        replicas = min((len(p.replicas) for p in there[name].partitions.values()), default=1)
        findings += compare(topic, name, values, replicas, servers)
    return findings


def _unknown(name: str) -> Finding:
    why = "whether it keeps our promises is not known: allow DescribeConfigs on it"
    return Finding("warn", name, "its settings", "not ours to read", "readable", why)


def _judge(findings: Iterable[Finding], warn: Callable[[Finding], None]) -> None:
    """Warn of settings that may break a guarantee.

    Raises:
        ServerError: Settings do break one; names all of them.
    """
    refused = []
    for finding in findings:
        if finding.severity == "refuse":
            refused.append(str(finding))
        else:
            warn(finding)
    if refused:
        raise ServerError("; ".join(refused))


def _create(client: AdminClient, wanted: Sequence[NewTopic]) -> list[str]:
    """Request the creation of topics; retry while too few brokers are available for them.

    A controller that has just started answers before it has unfenced any broker ("all brokers are
    currently fenced"), and a cluster's brokers start one after the other: both are reported as too
    few brokers for the replication factor, a transient error.
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
    """List the existing topics."""
    try:
        return client.list_topics(timeout=ANSWER_SECONDS).topics
    except KafkaException as error:
        raise ServerError(f"Kafka does not say what topics there are: {error}") from error


def _await_leaders(client: AdminClient, names: Sequence[str]) -> None:
    """Wait until clients can use the topics: not all brokers know a new topic at once."""
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
