"""Settings of topics that others have created: which break a promise, and which may."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from millrace.contracts.topics import (
    DAY_MS,
    FOREVER,
    MODEL_EVENTS,
    SENSOR_WINDOWS,
    SERVING_LEDGER,
    TOPICS,
    Topic,
)
from millrace.infra.topics.settings import compare, topic_config

#: What a broker says beside what a topic was created with.
DEFAULTS = {
    "retention.bytes": "-1",
    "message.timestamp.type": "CreateTime",
    "message.timestamp.before.max.ms": str((1 << 63) - 1),
    "min.insync.replicas": "1",
    "unclean.leader.election.enable": "false",
}
REFUSED = "refuse"
WARNED = "warn"


def found(topic: Topic, **changes: str) -> dict[str, str]:
    """What a broker says of a topic of ours, changed; underscores stand for dots."""
    changed = {name.replace("_", "."): value for name, value in changes.items()}
    return DEFAULTS | topic_config(topic) | changed


@pytest.mark.parametrize("topic", TOPICS, ids=lambda topic: topic.name)
def test_what_we_create_is_what_we_need(topic: Topic) -> None:
    """Topics as we create them pass, on one broker."""
    assert compare(topic, topic.name, found(topic), 1, "kafka:9092") == []


@pytest.mark.parametrize(
    ("topic", "changes", "severity"),
    [
        (MODEL_EVENTS, {"retention_ms": str(7 * DAY_MS)}, REFUSED),
        (MODEL_EVENTS, {"retention_bytes": "1000000"}, REFUSED),
        (MODEL_EVENTS, {"cleanup_policy": "compact"}, REFUSED),
        (SENSOR_WINDOWS, {"cleanup_policy": "compact,delete"}, REFUSED),
        (SENSOR_WINDOWS, {"retention_ms": "3600000"}, WARNED),
        (SENSOR_WINDOWS, {"retention_bytes": "1000000"}, WARNED),
        (SENSOR_WINDOWS, {"max_message_bytes": "1048588"}, REFUSED),
        (SENSOR_WINDOWS, {"message_timestamp_type": "LogAppendTime"}, WARNED),
        (SENSOR_WINDOWS, {"message_timestamp_after_max_ms": "3600000"}, WARNED),
        (SENSOR_WINDOWS, {"message_timestamp_before_max_ms": "3600000"}, WARNED),
        (SERVING_LEDGER, {"cleanup_policy": "delete"}, WARNED),
        (SERVING_LEDGER, {"cleanup_policy": "compact,delete", "retention_ms": "1000"}, REFUSED),
        (SENSOR_WINDOWS, {"min_insync_replicas": "2"}, REFUSED),
        (SENSOR_WINDOWS, {"unclean_leader_election_enable": "true"}, WARNED),
    ],
)
def test_each_setting_that_breaks_a_promise_is_named(
    topic: Topic, changes: dict[str, str], severity: str
) -> None:
    """One finding names topic, setting, both values, and the command that mends it."""
    settings = found(topic, **changes)
    (finding,) = compare(topic, f"ns.{topic.name}", settings, 1, "kafka:9092")
    assert finding.severity == severity
    assert finding.found == settings[finding.setting]
    assert f"ns.{topic.name}" in str(finding)
    assert finding.mend.startswith("kafka-configs.sh --bootstrap-server kafka:9092 --alter")
    key, _, value = finding.mend.rsplit(" ", 1)[1].partition("=")
    assert compare(topic, topic.name, settings | {key: value}, 1, "kafka:9092") == []


@pytest.mark.parametrize(
    ("topic", "changes"),
    [
        (SENSOR_WINDOWS, {"retention_ms": "-1"}),
        (SENSOR_WINDOWS, {"retention_ms": str(30 * DAY_MS)}),
        (SENSOR_WINDOWS, {"max_message_bytes": "100000000"}),
        (SERVING_LEDGER, {"retention_ms": "604800000"}),  # compacted: nothing is deleted for age
    ],
)
def test_more_than_is_needed_is_fine(topic: Topic, changes: dict[str, str]) -> None:
    """Longer retention and larger records break nothing."""
    assert compare(topic, topic.name, found(topic, **changes), 1, "kafka:9092") == []


def test_replicas_that_need_not_agree_are_told() -> None:
    """Three replicas of which one may confirm alone: a confirmed record may be lost."""
    settings = found(SENSOR_WINDOWS)
    (finding,) = compare(SENSOR_WINDOWS, "w", settings, 3, "kafka:9092")
    assert (finding.severity, finding.setting) == (WARNED, "min.insync.replicas")
    assert compare(SENSOR_WINDOWS, "w", found(SENSOR_WINDOWS, min_insync_replicas="2"), 3, "") == []


@given(
    st.sampled_from(TOPICS),
    st.dictionaries(
        st.sampled_from([*DEFAULTS, *topic_config(SENSOR_WINDOWS)]),
        st.sampled_from(["", "-1", "0", "1", "compact", "delete", "true", "9" * 30]),
    ),
)
def test_whatever_a_broker_says_is_compared(topic: Topic, settings: dict[str, str]) -> None:
    """No answer makes the comparison fail; a topic that expires is never passed as forever."""
    findings = compare(topic, topic.name, settings, 1, "kafka:9092")
    expires = settings.get("retention.ms") in {"0", "1"} and "delete" in settings.get(
        "cleanup.policy", "delete"
    )
    if topic.retention_ms == FOREVER and expires:
        assert any(finding.severity == REFUSED for finding in findings)
