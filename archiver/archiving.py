"""Consumes records and writes objects; one file, since it is one thread's state.

The guarantee is in `archiver`.
"""

from __future__ import annotations

import datetime as dt
import threading
import time
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Final

import structlog
from confluent_kafka import Consumer, KafkaException, Message, TopicPartition
from prometheus_client import Counter, Gauge

from millrace.archiver.awaited_runs import AwaitedRuns
from millrace.archiver.buffer import Buffer
from millrace.archiver.incarnations import Incarnations
from millrace.archiver.settings import ArchiverSettings
from millrace.archiver.starts import StartSearch
from millrace.contracts.clock import now as wall_clock
from millrace.contracts.errors import ServerError
from millrace.contracts.events.topic_epoch import NO_EPOCH, parts_of
from millrace.contracts.headers import RawHeaders
from millrace.contracts.topics import (
    ARCHIVED,
    MAX_BATCH_BYTES,
    OUTCOMES,
    SENSOR_WINDOWS,
    Topic,
)
from millrace.contracts.wire.groups import ARCHIVER
from millrace.infra.archive.catalogue import ArchiveEnd
from millrace.infra.archive.gaps import BATCH, EXPIRED, HEADERS, RECORD, Gap, note_gap
from millrace.infra.archive.objects import ArchivedObject, Record
from millrace.infra.archive.parquet import CONTENT_TYPE, START, encode_records
from millrace.infra.kafka.batch_end import batch_end
from millrace.infra.kafka.clients import consumer, watermarks
from millrace.infra.kafka.errors import (
    is_out_of_range,
    is_partition_end,
    is_undecompressible,
    is_unknown_topic,
    raise_error,
)
from millrace.infra.kafka.message_headers import message_headers
from millrace.infra.kafka.place import Place
from millrace.infra.object_store import ObjectStore
from millrace.infra.process import fault_points
from millrace.infra.progress.committed import committed_offsets
from millrace.infra.settings import Settings
from millrace.infra.topics.ids import member_name

#: What a training run that waits for the archive is going to read.
_AWAITED: Final[Collection[Topic]] = (SENSOR_WINDOWS, OUTCOMES)
#: Smallest fetch, bytes, and the longest wait for one, milliseconds: at a low rate a fetch for
#: every record would keep the broker busy. This delay comes before `awaited_seconds` begin.
_FETCH_BYTES: Final = 1 << 18
_FETCH_MS: Final = 500
_POLL_SECONDS: Final = 0.1
#: Interval at which committed offsets are updated from the store.
_COMMIT_SECONDS: Final = 5.0
#: Interval of the check whether a topic was created anew.
_LOOK_SECONDS: Final = 5.0
#: Metadata refresh interval: a deleted topic that was created again is noticed by then.
_METADATA_MS: Final = 30_000
#: Longest time for leaving the group at shutdown.
_LEAVE_SECONDS: Final = 3.0
_log = structlog.get_logger(__name__)
_records = Counter("millrace_archiver_records_total", "Records archived", ["topic"])
_objects = Counter("millrace_archiver_objects_total", "Objects written", ["topic"])
_bytes = Counter("millrace_archiver_bytes_total", "Bytes written", ["topic"])
_skipped = Counter(
    "millrace_archiver_skipped_records_total",
    "Records that were not archived, or not with their headers",
    ["topic", "why"],
)
_lag = Gauge(
    "millrace_archiver_lag_records",
    "Records that are not archived yet, markers left out",
    ["topic"],
)
_oldest = Gauge(
    "millrace_archiver_oldest_seconds", "Age of the oldest record that was read and is not archived"
)
_buffered = Gauge("millrace_archiver_buffered_bytes", "Bytes that wait for their object")


class Archiver:
    """Archives the partitions that are assigned to it; owned by one thread."""

    def __init__(self, settings: Settings, limits: ArchiverSettings, store: ObjectStore) -> None:
        """Join the group without reading yet."""
        self._settings = settings
        self._limits = limits
        self._store = store
        self._topics = {settings.named(topic.name): topic for topic in ARCHIVED}
        for topic in ARCHIVED:  # a topic of which nothing is archived has a rate, too: 0
            _records.labels(topic.name)
        self._buffers: dict[Place, Buffer] = {}
        self._runs = AwaitedRuns(settings)
        self._incarnations = Incarnations(settings, ARCHIVER, self._topics)
        #: Per partition that is read: the Kafka offset below which every record is archived, and
        #: the offset after the last record that was read; both only grow.
        self._stored: dict[Place, int] = {}
        #: Where the archive of each ends.
        self._ends: dict[Place, ArchiveEnd] = {}
        self._read: dict[Place, int] = {}
        #: Offsets that the group has committed in the present incarnations; -1 for none.
        self._committed: dict[Place, int] = {}
        #: Partitions that were assigned and are not read yet, and the search for their starts.
        self._assigned: list[Place] | None = None
        self._search: StartSearch | None = None
        #: Why the assignment has to begin anew; None if it need not.
        self._stale: str | None = None
        self._committed_at = self._looked_at = 0.0
        self.assigned = False
        self._client: Consumer = self._join()

    def step(self, now: float) -> int:
        """Poll once and write the objects that are due; after an assignment, find the starts.

        Args:
            now: A clock in seconds.

        Returns:
            Number of objects written.

        Raises:
            KafkaException: The client cannot continue.
            ServerError: Broker or store do not answer.
        """
        if self._stale is not None:
            self._join_anew(self._stale)
        written = self._consume(now)
        self._begin()
        waited_for = _AWAITED if self._runs.waiting() else ()
        due = [
            place
            for place, buffer in self._buffers.items()
            if buffer.due(self._limits, now, awaited=self._topics[place.topic] in waited_for)
        ]
        written += self._write(due)
        if now - self._looked_at >= _LOOK_SECONDS:
            self._looked_at = now
            self._are_the_same()
        if now - self._committed_at >= _COMMIT_SECONDS:
            self._committed_at = now
            self._pass_markers()
            self._commit(self._stored)
            self._show_lag()
        _buffered.set(sum(buffer.bytes for buffer in self._buffers.values()))
        return written

    def places(self) -> set[Place] | None:
        """List the partitions that are read here; None before an assignment."""
        return set(self._stored) if self.assigned else None

    def owned(self) -> set[tuple[str, int]]:
        """List the same partitions under their names in the archive."""
        return {(self._topics[p.topic].name, p.partition) for p in set(self._stored)}

    def close(self) -> None:
        """Write the buffered records and leave the group."""
        self._write([place for place, buffer in self._buffers.items() if buffer.records])
        self._leave()
        self._runs.close()
        self._incarnations.close()

    def _join(self) -> Consumer:
        name = member_name(self._settings, "archiver", ARCHIVED)
        client = consumer(
            self._settings,
            ARCHIVER,
            {
                "partition.assignment.strategy": "range",
                # The start offset is taken from the store; if the topic does not have it, the
                # assignment is taken over again.
                "auto.offset.reset": "error",
                "enable.partition.eof": True,
                "group.instance.id": name,
                "session.timeout.ms": 10_000,
                "client.id": f"archiver-{self._settings.replica}",
                "fetch.min.bytes": _FETCH_BYTES,
                "fetch.wait.max.ms": _FETCH_MS,
                "receive.message.max.bytes": MAX_BATCH_BYTES,
                "topic.metadata.refresh.interval.ms": _METADATA_MS,
            },
        )
        client.subscribe(
            list(self._topics),
            on_assign=self._on_assign,
            on_revoke=self._on_revoke,
            on_lost=self._on_revoke,
        )
        return client

    def _leave(self) -> None:
        """Leave the group, without waiting for an unavailable broker.

        While the broker is unavailable, librdkafka's close blocks on uncommitted offsets. They
        need not be waited for, since the store holds the progress.
        """
        leaving = threading.Thread(target=self._client.close, name="leaving", daemon=True)
        leaving.start()
        leaving.join(_LEAVE_SECONDS)

    def _begin_anew(self, why: str) -> None:
        """Drop the buffers and read offsets; the next step takes the partitions over again."""
        self._forget()
        self.assigned = False
        self._stale = why

    def _join_anew(self, why: str) -> None:
        """Join the group with new clients.

        The leaders and leader epochs that the present clients have cached may belong to a topic
        that has been deleted; `topic.epochs` and `training.runs` may themselves be such topics.
        """
        _log.warning("the assignment begins anew", why=why)
        self._leave()
        self._forget()
        self._stale = None
        self._runs.close()
        self._incarnations.close()
        self._runs = AwaitedRuns(self._settings)
        self._incarnations = Incarnations(self._settings, ARCHIVER, self._topics)
        self._client = self._join()

    def _consume(self, now: float) -> int:
        """Buffer the records of one poll; write buffers that become full."""
        written = 0
        for message in self._client.consume(self._limits.max_records, _POLL_SECONDS):
            error = message.error()
            if error is None:
                written += self._keep(message, now)
            elif is_partition_end(error):
                self._keep_end(message)
            elif is_undecompressible(error):
                self._skip_batch(message)
            elif is_out_of_range(error):
                self._begin_anew(error.str())
            elif is_unknown_topic(error):
                _log.warning("a topic is away", why=error.str())
            else:
                raise_error(message)
        return written

    def _keep(self, message: Message, now: float) -> int:
        """Buffer a record, and write the buffer if it is full."""
        topic, partition, offset = message.topic(), message.partition(), message.offset()
        if topic is None or partition is None or offset is None:
            return 0
        place = Place(topic, partition)
        if place not in self._read:
            return 0  # read for an assignment that has ended
        epoch = message.leader_epoch()
        known = NO_EPOCH if epoch is None else epoch
        if not self._incarnations.follow(place, known, offset, self._read[place]):
            self._begin_anew(f"{place} has begun another incarnation")
            return 0
        self._read[place] = offset + 1
        key, value = message.key(), message.value()
        if len(key or b"") + len(value or b"") > MAX_BATCH_BYTES:
            self._note_gap(place, offset, offset + 1, RECORD)
            return 0
        position = self._incarnations.position(place, offset)
        buffer = self._buffers.setdefault(place, Buffer())
        buffer.add(
            Record(position, message.timestamp()[1], key, value, self._headers(message, place)), now
        )
        return self._write([place]) if buffer.full(self._limits) else 0

    def _keep_end(self, message: Message) -> None:
        """Note a log's end offset: only markers lie between the last record and it."""
        place = Place(message.topic() or "", message.partition() or 0)
        if place in self._read:
            self._read[place] = max(self._read[place], message.offset() or 0)

    def _show_lag(self) -> None:
        """Report how many records are not archived yet, and the age of the oldest buffered one."""
        lags = dict.fromkeys((topic.name for topic in ARCHIVED), 0)
        oldest = wall = time.time()
        for place, read in self._read.items():
            _, high = self._client.get_watermark_offsets(TopicPartition(*place), cached=True)
            buffered = self._buffers.get(place, Buffer()).records
            lags[self._topics[place.topic].name] += max(high - read, 0) + len(buffered)
            if buffered and buffered[0].timestamp_ms > 0:
                oldest = min(oldest, buffered[0].timestamp_ms / 1000)
        for topic, lag in lags.items():
            _lag.labels(topic).set(lag)
        _oldest.set(wall - oldest)

    def _headers(self, message: Message, place: Place) -> RawHeaders:
        """Return a record's headers; none, and a gap, if they cannot be read."""
        headers = message_headers(message)
        if headers is None:
            offset = message.offset() or 0
            self._note_gap(place, offset, offset + 1, HEADERS)
        return headers or []

    def _skip_batch(self, message: Message) -> None:
        """Skip a record batch that cannot be decompressed within the bound."""
        place, first = Place(message.topic() or "", message.partition() or 0), message.offset()
        if first is None or place not in self._read or first < self._read[place]:
            return  # skipped already
        end = batch_end(self._settings, place, first)
        self._note_gap(place, first, end, BATCH)
        self._read[place] = end
        self._client.seek(TopicPartition(*place, end))

    def _note_gap(self, place: Place, first: int, end: int, why: str) -> None:
        """Count, log and store a range that is not archived, or not completely."""
        topic = self._topics[place.topic].name
        self._store_gap(place, first, end, why)
        _skipped.labels(topic, why).inc(end - first)
        _log.error(
            "records are archived without their headers" if why == HEADERS else "records skipped",
            topic=topic,
            partition=place.partition,
            first=first,
            last=end - 1,
            why=why,
        )

    def _store_gap(self, place: Place, first: int, end: int, why: str) -> None:
        """Store the Kafka offsets of a gap, as positions."""
        topic, position = self._topics[place.topic].name, self._incarnations.position(place, first)
        note_gap(self._store, topic, place.partition, Gap(position, position + end - first, why))

    def _are_the_same(self) -> bool:
        """Whether the topics still have the ids that are read; if not, begin anew."""
        try:
            same = self._incarnations.are_the_same()
        except ServerError as error:  # a broker is unavailable, or a topic is being created anew
            _log.warning("topics not looked at, nothing is written", why=str(error))
            return False
        if not same:
            self._begin_anew("a topic was created anew")
        return same

    def _write(self, places: Sequence[Place]) -> int:
        """Store the buffered records of partitions, unless a topic was created anew meanwhile.

        Returns:
            Number of objects written.
        """
        if not places or not self._are_the_same():
            return 0
        today = wall_clock().date()
        return sum(
            self._store_object(place, date, records)
            for place in places
            for date, records in list(self._buffers[place].objects(self._ends[place].date, today))
        )

    def _store_object(self, place: Place, date: dt.date, records: list[Record]) -> int:
        """Store one object, then drop its records: the store holds the progress."""
        declared = self._topics[place.topic]
        topic = declared.name
        item = ArchivedObject(topic, place.partition, records[0].offset, records[-1].offset, date)
        data = encode_records(records, self._ends[place].position or START, declared)
        fault_points.reached("archiver.before-output")
        self._store.put(item.key, data, CONTENT_TYPE)
        self._buffers[place].drop(len(records))
        self._ends[place] = ArchiveEnd(item.last + 1, date)
        _records.labels(topic).inc(len(records))
        _objects.labels(topic).inc()
        _bytes.labels(topic).inc(len(data))
        fault_points.reached("archiver.between-output-and-commit")
        self._stored[place] = parts_of(item.last)[1] + 1
        self._commit([place])
        return 1

    def _pass_markers(self) -> None:
        """Count gaps and markers as archived where no record before them is buffered."""
        for place, read in self._read.items():
            buffer = self._buffers.get(place)
            if buffer is None or not buffer.records:
                self._stored[place] = max(self._stored[place], read)

    def _commit(self, places: Iterable[Place]) -> None:
        """Commit the store's progress; only the lag and the watchdog use these offsets.

        A committed offset never decreases: after a restart the store's end may lie before markers
        that an earlier process has passed. The next commit of all partitions makes up for a lost
        one.
        """
        ahead = {p: self._stored[p] for p in places if self._stored[p] >= self._committed[p]}
        if not ahead:
            return
        offsets = [TopicPartition(*place, end) for place, end in ahead.items()]
        self._client.commit(offsets=offsets, asynchronous=True)
        self._committed |= ahead

    def _committed_before(
        self, starts: Mapping[Place, int], ends: Mapping[Place, int]
    ) -> dict[Place, int]:
        """Find the group's committed offsets of partitions in their present incarnations.

        A committed offset does not name its incarnation; the archive does: before the first
        object of an incarnation is written, the incarnation's first offset is committed.

        Args:
            starts: Kafka offsets at which reading begins.
            ends: Position after the last archived record.

        Raises:
            KafkaException: An offset cannot be committed.
            ServerError: The group does not answer.
        """
        begun = {
            p: s for p, s in starts.items() if parts_of(ends[p])[0] != self._incarnations.of(p)
        }
        if begun:
            offsets = [TopicPartition(*place, start) for place, start in begun.items()]
            for done in self._client.commit(offsets=offsets, asynchronous=False) or []:
                if done.error is not None:
                    raise KafkaException(done.error)
        partitions: dict[Topic, list[int]] = defaultdict(list)
        for place in starts:
            partitions[self._topics[place.topic]].append(place.partition)
        found = committed_offsets(self._settings, ARCHIVER, partitions)
        known = {place: found[self._topics[place.topic]].get(place.partition) for place in starts}
        return {place: -1 if at is None else at.offset for place, at in known.items()}

    def _on_assign(self, client: Consumer, places: list[TopicPartition]) -> None:
        """Accept partitions; they are read once `_begin` has found their start offsets."""
        client.assign([])
        self._forget()
        self._assigned = [Place(at.topic, at.partition) for at in places]
        self.assigned = True

    def _begin(self) -> None:
        """Search the starts of assigned partitions, and read them when all are known.

        Raises:
            ServerError: Broker or store do not answer, or `Incarnations.take_over` refuses.
        """
        if self._assigned is None:
            return
        if self._search is None:
            near = {
                place: self._incarnations.near(
                    place, watermarks(self._client, TopicPartition(*place))[1]
                )
                for place in self._assigned
            }
            topics = {place: self._topics[place.topic].name for place in self._assigned}
            self._search = StartSearch(self._store, topics, near)
        ends = self._search.result()
        if ends is None:
            return
        positions = {place: end.position for place, end in ends.items()}
        starts, expired = self._incarnations.take_over(positions)
        for place, (first, end) in expired.items():
            self._store_gap(place, first, end, EXPIRED)
        try:
            self._committed = self._committed_before(starts, positions)
        except KafkaException as error:  # the group may have moved on
            self._begin_anew(f"offsets are not committed: {error}")
            return
        self._client.assign([TopicPartition(*place, start) for place, start in starts.items()])
        self._assigned = self._search = None
        self._stored = starts
        self._ends = dict(ends)
        self._read = dict(starts)
        self._committed_at = 0.0
        _log.info("archiving", partitions=len(starts))

    def _on_revoke(self, client: Consumer, _: list[TopicPartition]) -> None:
        if client is not self._client:
            return  # a former client, closing late
        client.unassign()
        self._forget()
        self.assigned = False

    def _forget(self) -> None:
        """Drop the state of an assignment: all partitions are assigned and revoked together."""
        self._buffers.clear()
        self._assigned = self._search = None
        self._stored = {}
        self._ends = {}
        self._read = {}
        self._committed = {}
        self._incarnations.forget()
