"""Topics and buckets that others have set up, on a real broker and a real object store."""

from __future__ import annotations

import pytest
from confluent_kafka.admin import NewTopic

from millrace.console.operations.topics import topic_lines
from millrace.contracts.errors import DataError, ServerError
from millrace.contracts.topics import DAY_MS, MODEL_EVENTS, SENSOR_WINDOWS
from millrace.infra.kafka.clients import admin
from millrace.infra.object_store import ObjectStore
from millrace.infra.settings import Settings
from millrace.infra.topics.admin import create_topics, settings_of
from millrace.infra.topics.settings import RETENTION, Finding


def made_by_others(settings: Settings, name: str, **config: str) -> str:
    """Create a topic as somebody else would."""
    full = settings.named(name)
    wanted = NewTopic(full, num_partitions=1, replication_factor=1, config=config)
    client = admin(settings)  # it has to live until it has answered
    client.create_topics([wanted])[full].result(timeout=30)
    return full


def test_a_registry_that_expires_is_refused_by_name(settings: Settings) -> None:
    """`model.events` with a week's retention: one error with both values and the remedy."""
    name = made_by_others(settings, MODEL_EVENTS.name, **{RETENTION: str(7 * DAY_MS)})
    with pytest.raises(ServerError) as error:
        create_topics(admin(settings), settings)
    assert str(error.value) == (
        f"topic {name}: retention.ms is 604800000, needed is -1 (forever): records that every"
        " service needs at its start would be deleted; run `kafka-configs.sh --bootstrap-server"
        f" {settings.kafka_bootstrap_servers} --alter --entity-type topics --entity-name {name}"
        " --add-config retention.ms=-1`"
    )
    (line,) = (line for line in topic_lines(settings) if line.name == name)
    assert (line.kept, line.declared) == ("7 days", "forever")
    assert [finding.severity for finding in line.findings] == ["refuse"]


def test_a_shorter_retention_is_a_warning(settings: Settings) -> None:
    """Windows that are kept for an hour: all goes on, and the topic and both values are told."""
    told: list[Finding] = []
    made_by_others(settings, SENSOR_WINDOWS.name, **{RETENTION: "3600000"})
    create_topics(
        admin(settings), settings.model_copy(update={"kafka_partitions": 1}), warn=told.append
    )
    (finding,) = told
    assert (finding.setting, finding.found) == (RETENTION, "3600000")
    assert finding.needed == f"at least {7 * DAY_MS}"


def test_topics_of_ours_pass(settings: Settings) -> None:
    """What a first call creates, a second one finds nothing wrong with."""
    told: list[Finding] = []
    create_topics(admin(settings), settings)
    assert create_topics(admin(settings), settings, warn=told.append) == []
    assert told == []


def test_a_topic_that_is_not_there_has_no_settings(settings: Settings) -> None:
    """One line says which."""
    with pytest.raises(ServerError, match="no-such"):
        settings_of(admin(settings), [settings.named("no-such")])


def test_a_missing_bucket_is_the_servers_fault_and_a_missing_object_is_not(
    settings: Settings,
) -> None:
    """The first says nothing about an artefact; the second does."""
    store = ObjectStore(settings)
    store.create_bucket()
    with pytest.raises(DataError, match="is not there"):
        store.get("models/none")
    elsewhere = ObjectStore(settings, bucket=f"{settings.bucket}-no")
    with pytest.raises(ServerError, match=r"has no bucket .*MILLRACE_S3_BUCKET"):
        elsewhere.get("models/none")
    with pytest.raises(DataError, match="models/"):
        store.get("models/../none")
