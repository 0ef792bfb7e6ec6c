"""Compares a topic's settings on the broker with the requirements of the guarantees.

A topic that was created with other settings may lose records silently: if it expires or is
compacted, it drops records that every service reads again at its start. Pure: it compares
declared and found settings, and returns findings, each with the command that corrects it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final, Literal

import msgspec

from millrace.contracts.topics import DAY_MS, FOREVER, HOUR_MS, Topic

#: By default Kafka refuses records that are more than an hour ahead of its own clock: an edge or a
#: service whose clock is wrong would lose its records, or not run at all.
ANY_TIME_AHEAD_MS: Final = (1 << 63) - 1

RETENTION: Final = "retention.ms"
RETENTION_BYTES: Final = "retention.bytes"
CLEANUP: Final = "cleanup.policy"
MAX_BYTES: Final = "max.message.bytes"
TIMESTAMP_TYPE: Final = "message.timestamp.type"
TIME_AHEAD: Final = "message.timestamp.after.max.ms"
TIME_BEHIND: Final = "message.timestamp.before.max.ms"
IN_SYNC: Final = "min.insync.replicas"
UNCLEAN: Final = "unclean.leader.election.enable"


#: Smallest number of brokers that have a confirmed record, where there are several.
_CONFIRMING: Final = 2


class Finding(msgspec.Struct, frozen=True):
    """A setting that does not meet the requirements of the guarantees.

    Attributes:
        severity: ``refuse`` if records are lost or cannot be written; ``warn`` if they may be,
            in circumstances that the operator has to know of.
        topic: The topic's full name.
        setting: Kafka's name of the setting.
        found: The broker's value.
        needed: The required value.
        why: The consequence otherwise, in words.
        mend: Command that corrects it; empty if no command does.
    """

    severity: Literal["refuse", "warn"]
    topic: str
    setting: str
    found: str
    needed: str
    why: str
    mend: str = ""

    def __str__(self) -> str:
        """One line for people."""
        said = f"topic {self.topic}: {self.setting} is {self.found}, needed is {self.needed}:"
        return f"{said} {self.why}" + (f"; run `{self.mend}`" if self.mend else "")


def topic_config(topic: Topic) -> dict[str, str]:
    """Kafka's settings of a declared topic, as it is created."""
    return {
        RETENTION: str(topic.retention_ms),
        CLEANUP: "compact" if topic.compacted else "delete",
        MAX_BYTES: str(topic.max_bytes),
        TIME_AHEAD: str(ANY_TIME_AHEAD_MS),
        **dict(topic.more),
    }


def compare(
    topic: Topic, name: str, found: Mapping[str, str], replicas: int, servers: str
) -> list[Finding]:
    """Find the settings of a topic that break a guarantee, or may break one.

    Args:
        topic: The topic as declared.
        name: Its full name.
        found: The broker's values, by Kafka's names; missing ones are not checked.
        replicas: Smallest number of replicas of its partitions.
        servers: Addresses of the brokers, for the commands.
    """
    return [
        Finding(severity, name, setting, found[setting], needed, why, _mend(name, servers, fix))
        for severity, setting, needed, why, fix in (
            *_kept(topic, found),
            *_taken(topic, found),
            *_replicated(found, replicas),
            *_compacted_early(topic, found),
        )
    ]


#: Severity, setting, requirement in words, reason, and the settings that correct it.
_Rule = tuple[Literal["refuse", "warn"], str, str, str, str]


def _kept(topic: Topic, found: Mapping[str, str]) -> Iterator[_Rule]:
    """Check that records are kept for as long as a service needs them."""
    policies = {policy.strip() for policy in found.get(CLEANUP, "").split(",")}
    if not topic.compacted and "compact" in policies:
        why = "it would lose all but the latest record of each key"
        yield "refuse", CLEANUP, "delete", why, f"{CLEANUP}=delete"
    if topic.compacted and policies == {"delete"}:
        why = "it grows without end, and so does every start that reads it"
        yield "warn", CLEANUP, "compact", why, f"{CLEANUP}=compact"
    if "delete" not in policies and CLEANUP in found:
        return  # nothing is deleted for its age or size
    kept = _number(found, RETENTION)
    if kept is not None and kept >= 0:
        if topic.retention_ms == FOREVER:
            why = "records that every service needs at its start would be deleted"
            yield "refuse", RETENTION, "-1 (forever)", why, f"{RETENTION}=-1"
        elif kept < topic.retention_ms:
            why = f"records are gone after {words(kept)}, not {words(topic.retention_ms)}"
            fix = f"{RETENTION}={topic.retention_ms}"
            yield "warn", RETENTION, f"at least {topic.retention_ms}", why, fix
    size = _number(found, RETENTION_BYTES)
    if size is not None and size >= 0:
        severity: Literal["refuse", "warn"] = "refuse" if topic.retention_ms == FOREVER else "warn"
        why = "records are deleted by size, however young they are"
        yield severity, RETENTION_BYTES, "-1 (any)", why, f"{RETENTION_BYTES}=-1"


def _taken(topic: Topic, found: Mapping[str, str]) -> Iterator[_Rule]:
    """Check that the broker accepts every record that may be written, with its timestamp."""
    largest = _number(found, MAX_BYTES)
    if largest is not None and largest < topic.max_bytes:
        why = "the broker would refuse records that its writers may write"
        yield "refuse", MAX_BYTES, f"at least {topic.max_bytes}", why, _set(topic, MAX_BYTES)
    if found.get(TIMESTAMP_TYPE, "CreateTime") != "CreateTime":
        why = "records would lose the time of their hand-over, from which latency is counted"
        yield "warn", TIMESTAMP_TYPE, "CreateTime", why, f"{TIMESTAMP_TYPE}=CreateTime"
    for setting, clock in ((TIME_AHEAD, "ahead"), (TIME_BEHIND, "behind")):
        limit = _number(found, setting)
        if limit is not None and limit < ANY_TIME_AHEAD_MS:
            why = f"records of a machine whose clock is {clock} would be refused"
            fix = f"{setting}={ANY_TIME_AHEAD_MS}"
            yield "warn", setting, str(ANY_TIME_AHEAD_MS), why, fix


def _replicated(found: Mapping[str, str], replicas: int) -> Iterator[_Rule]:
    """Check that a confirmed record survives the loss of a broker."""
    in_sync = _number(found, IN_SYNC)
    if in_sync is not None and in_sync > replicas:
        why = f"with {replicas} replicas no record could be written"
        yield "refuse", IN_SYNC, f"at most {replicas}", why, f"{IN_SYNC}={max(1, replicas - 1)}"
    if in_sync is not None and in_sync < _CONFIRMING <= replicas:
        why = "a confirmed record may be on one broker only, and be lost with it"
        yield "warn", IN_SYNC, f"at least {_CONFIRMING}", why, f"{IN_SYNC}={_CONFIRMING}"
    if found.get(UNCLEAN, "false").lower() == "true":
        why = "a replica that lacks confirmed records may become leader, and they are lost"
        yield "warn", UNCLEAN, "false", why, f"{UNCLEAN}=false"


def _compacted_early(topic: Topic, found: Mapping[str, str]) -> Iterator[_Rule]:
    """Check that recovery reads stay short, by the settings that a topic declares for that."""
    for setting, declared in topic.more:
        if setting in found and found[setting] != declared:
            why = "a restart may have much more to read back than memory is live"
            yield "warn", setting, declared, why, f"{setting}={declared}"


def words(milliseconds: int) -> str:
    """Format a duration for people.

    >>> words(-1), words(7 * DAY_MS), words(90 * 60_000), words(500)
    ('forever', '7 days', '1.5 hours', '0.5 s')
    """
    if milliseconds < 0:
        return "forever"
    if milliseconds >= DAY_MS:
        return f"{milliseconds / DAY_MS:g} days"
    if milliseconds >= HOUR_MS:
        return f"{milliseconds / HOUR_MS:g} hours"
    return f"{milliseconds / 1000:g} s"


def _number(found: Mapping[str, str], setting: str) -> int | None:
    try:
        return int(found[setting])
    except (KeyError, ValueError):
        return None


def _set(topic: Topic, setting: str) -> str:
    return f"{setting}={topic_config(topic)[setting]}"


def _mend(name: str, servers: str, fix: str) -> str:
    return (
        f"kafka-configs.sh --bootstrap-server {servers} --alter --entity-type topics"
        f" --entity-name {name} --add-config {fix}"
    )
