"""Counts and logs records that were lost before they could be read."""

from __future__ import annotations

from typing import Final

import structlog
from prometheus_client import Counter

from millrace.contracts.topics import Topic

_log = structlog.get_logger(__name__)
LOST: Final = Counter(
    "millrace_records_lost_total",
    "Records that Kafka dropped before a group had read them",
    ["topic", "group"],
)


def tell_lost(topic: Topic, group: str, partition: int, first: int, end: int) -> None:
    """Count records that expired before a group had read them, and log their offsets.

    Args:
        topic: The topic.
        group: The consumer group, before the namespace.
        partition: The partition.
        first: Kafka offset of the first one.
        end: Offset after the last one.
    """
    LOST.labels(topic.name, group).inc(end - first)
    _log.error(
        "records lost to retention",
        topic=topic.name,
        group=group,
        partition=partition,
        first=first,
        last=end - 1,
        records=end - first,
        mend="send them again if the edge or the archive has them, and raise retention.ms",
    )
