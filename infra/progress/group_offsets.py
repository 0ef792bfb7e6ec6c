"""Queries a consumer group's committed offsets and its lag in records.

A log also holds entries that consumers never receive: transaction markers and aborted records. So
the number of offsets up to a log's end is an upper bound of the lag, and where a log ends in a
marker, it never becomes 0. Where few offsets are left, the records among them are counted by
reading; an empty range is remembered (`empty_ranges`), so that this is done once.
"""

from __future__ import annotations

import time
from collections.abc import Collection, Mapping
from typing import Final

from confluent_kafka import (
    OFFSET_BEGINNING,
    Consumer,
    KafkaException,
    TopicPartition,
)
from prometheus_client import Gauge

from millrace.infra.kafka.clients import consumer, reader, whole_ms
from millrace.infra.kafka.errors import is_partition_end
from millrace.infra.kafka.place import Place
from millrace.infra.progress.empty_ranges import EmptyRanges
from millrace.infra.settings import Settings

LAG: Final = Gauge(
    "millrace_group_lag_records",
    "Records that a group has still to read; where many offsets are left, at most so many",
    ["group", "topic", "partition"],
)
#: Largest number of offsets whose records are counted by reading them.
FEW: Final = 64
_ANSWER_SECONDS: Final = 5.0

Progress = Mapping[Place, tuple[int, int]]


class GroupOffsets:
    """One group's offsets; owned by one thread."""

    def __init__(self, settings: Settings, group: str) -> None:
        """Connect.

        Args:
            settings: Where Kafka is.
            group: The group, before the namespace.
        """
        # It never subscribes, and so is no member of the group. It is no administrative client:
        # librdkafka 2.16 aborts the whole process when the broker dies during such a client's
        # request to the group's coordinator. Other clients report whether Kafka is unavailable.
        self._settings = settings
        self._group = group
        self._client = self._connect()
        self._empty = EmptyRanges()
        self._before: Progress = {}
        self._counted: dict[Place, tuple[tuple[int, int], int]] = {}
        self._shown: set[Place] = set()

    def _connect(self) -> Consumer:
        return consumer(self._settings, self._group, {"log_level": 0})

    def progress(self, places: Collection[Place]) -> Progress | None:
        """Query committed offsets and log ends; None if no broker answers.

        A committed offset before a range that `has_record` found empty counts as its end.
        After a failure a new client is used: the old one may have lost its brokers for good.
        """
        seen: dict[Place, tuple[int, int]] = {}
        try:
            self._client.poll(0)  # lets it drop its events about connections
            if not places:
                self._client.list_topics(timeout=_ANSWER_SECONDS)
                return {}
            asked = [TopicPartition(*place) for place in places]
            for one in self._client.committed(asked, _ANSWER_SECONDS):
                if one.error is not None:
                    continue
                place, offset = Place(one.topic, one.partition), max(one.offset, -1)
                _, end = self._client.get_watermark_offsets(one, timeout=_ANSWER_SECONDS)
                seen[place] = (self._empty.next_unknown(place, offset), end)
        except KafkaException:
            self._client = self._connect()
            return None
        return seen

    def has_record(self, place: Place, committed: int, end: int) -> bool:
        """Try to read a record in [committed, end); False if there is none."""
        return bool(self._count(place, committed, end, most=1))

    def lags(self, progress: Progress, *, settled: bool = False) -> dict[Place, int]:
        """Compute a group's lag in records, by partition.

        Args:
            progress: Result of `progress`.
            settled: Whether to count records by reading at once; otherwise partitions that have
                moved since the last call are not read, since the group will soon catch up.
        """
        found = {}
        for place, span in progress.items():
            committed, end = span
            lag = max(0, end - max(committed, 0))
            if 0 < lag <= FEW and (settled or self._before.get(place) == span):
                known = self._counted.get(place)
                if known is None or known[0] != span:
                    counted = self._count(place, committed, end, most=FEW)
                    if counted is not None:
                        self._counted[place] = known = (span, counted)
                if known is not None:
                    lag = known[1]
            found[place] = lag
        self._before = progress
        return found

    def show(self, progress: Progress) -> None:
        """Set the metric, for these partitions and no others."""
        lags = self.lags(progress)
        for place, lag in lags.items():
            LAG.labels(self._group, self._named(place), str(place.partition)).set(lag)
        for place in self._shown.difference(lags):
            LAG.remove(self._group, self._named(place), str(place.partition))
        self._shown = set(lags)

    def close(self) -> None:
        """Close the client."""
        self._client.close()

    def _named(self, place: Place) -> str:
        """A topic's name without the namespace."""
        prefix = self._settings.named("")
        return place.topic.removeprefix(prefix)

    def _count(self, place: Place, committed: int, end: int, *, most: int) -> int | None:
        """Count the records in [committed, end), up to ``most``; None without an answer."""
        start = committed if committed >= 0 else OFFSET_BEGINNING
        client = reader(self._settings, {"enable.partition.eof": True, "log_level": 0})
        patience = time.monotonic() + _ANSWER_SECONDS
        count = 0
        try:
            client.assign([TopicPartition(place.topic, place.partition, start)])
            while time.monotonic() < patience:
                message = client.poll(whole_ms(patience - time.monotonic()))
                error = None if message is None else message.error()
                if message is None:
                    continue
                if error is not None and not is_partition_end(error):
                    continue
                if error is None and (message.offset() or 0) < end:
                    count += 1
                    if count >= most:
                        return count
                    continue
                if not count:
                    self._empty.note(place, committed, end)
                return count
        except KafkaException:
            return None  # no answer is no evidence
        finally:
            client.close()
        return None
