"""Topics go in, Parquet objects in the object store come out: what training and replay read.

```
python -m trainer.archiver
```

Guarantee: every record is in exactly one object. Objects are written whole, one partition's
in order, each beginning where the last one ended; and where that was is read from the store
itself after every assignment, never from committed offsets (those only show the lag). So a
crash at any point repeats nothing and leaves no gap and no overlap: a buffered record that
was not stored is consumed again, a stored one is not. Records that are still buffered when
a partition is taken away are forgotten for the same reason. A static group membership fences
an archiver that hangs and comes back after it was replaced; the one object that it might
then still be writing is the only possible overlap, and readers take a record once.

A thread beside this one merges the objects (`trainer.merger`), so that neither a start nor a
reader takes longer the older the archive is.
"""

import signal
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from typing import Final

import structlog
from confluent_kafka import Consumer, KafkaException, Message, TopicPartition
from prometheus_client import Counter, Gauge

from contracts.errors import MillraceError
from contracts.events import EventReader
from contracts.invalid_record import InvalidRecord
from contracts.topics import OUTCOMES, PREDICTIONS, SENSOR_WINDOWS, TRAINING_RUNS, Topic
from contracts.training import FINISHED, TrainingRun
from infra import fault_points
from infra.error_line import say_error
from infra.kafka import consumer, raise_error, watermarks
from infra.logs import configure_logs
from infra.object_store import ObjectStore
from infra.partition_watch import PartitionWatch
from infra.servers import await_kafka, await_partitions, await_store
from infra.settings import Settings
from infra.stalls import Place
from infra.telemetry import Health, serve_telemetry
from infra.watchdog import Watchdog
from trainer.archive import CONTENT_TYPE, ArchivedObject, Record, encode_records
from trainer.merger import Merger
from trainer.settings import ArchiverSettings
from trainer.starts import Bounds, StartSearch, start_of
from trainer.tail import Tail

ARCHIVED: Final[Sequence[Topic]] = (SENSOR_WINDOWS, PREDICTIONS, OUTCOMES)
GROUP: Final = "millrace.archiver"

#: What a fetch waits for, and how long, milliseconds: at a low rate a fetch for every record
#: would keep the broker busy. So long a record may be under way before `awaited_seconds` begin.
_FETCH_BYTES: Final = 1 << 18
_FETCH_MS: Final = 500
_POLL_SECONDS: Final = 0.1
_STALL_SECONDS: Final = 60.0
#: How often the committed offsets are brought into step with the store.
_COMMIT_SECONDS: Final = 5.0
#: How long leaving the group may take at the end.
_LEAVE_SECONDS: Final = 3.0
_log = structlog.get_logger(__name__)
_records = Counter("millrace_archiver_records_total", "Records archived", ["topic"])
_objects = Counter("millrace_archiver_objects_total", "Objects written", ["topic"])
_bytes = Counter("millrace_archiver_bytes_total", "Bytes written", ["topic"])
_buffered = Gauge("millrace_archiver_buffered_bytes", "Bytes that wait for their object")


class Buffer:
    """Records of one partition that wait for their object."""

    def __init__(self) -> None:
        """Start empty."""
        self.records: list[Record] = []
        self.bytes = 0
        self.since = 0.0

    def add(self, record: Record, now: float) -> None:
        """Add a record; ``now`` is a clock in seconds."""
        if not self.records:
            self.since = now
        self.records.append(record)
        self.bytes += len(record.value or b"") + len(record.key or b"")

    def due(self, settings: ArchiverSettings, now: float, *, awaited: bool) -> bool:
        """Whether it should be written now: full, old enough, or somebody waits for it."""
        wait = settings.awaited_seconds if awaited else settings.max_seconds
        return bool(self.records) and (
            len(self.records) >= settings.max_records
            or self.bytes >= settings.max_bytes
            or now - self.since >= wait
        )


class Archiver:
    """Writes the topics' partitions that it is assigned; owned by one thread."""

    def __init__(self, settings: Settings, limits: ArchiverSettings, store: ObjectStore) -> None:
        """Join the group; nothing is read yet."""
        self._limits = limits
        self._store = store
        self._topics = {settings.named(topic.name): topic.name for topic in ARCHIVED}
        self._buffers: dict[tuple[str, int], Buffer] = {}
        self._runs = AwaitedRuns(settings)
        #: Offset after the last archived record, by partition that is read.
        self._stored: dict[Place, int] = {}
        #: Partitions that were assigned and are not read yet, what their topics have of them,
        #: and the search for where to begin.
        self._assigned: list[Place] | None = None
        self._bounds: dict[Place, Bounds] = {}
        self._search: StartSearch | None = None
        self._committed_at = 0.0
        self.assigned = False
        self._client: Consumer = consumer(
            settings,
            GROUP,
            {
                "partition.assignment.strategy": "range",
                # Where to read is taken from the store; an offset that the topic does not have
                # any more ends the process, whose next assignment says what is wrong.
                "auto.offset.reset": "error",
                "group.instance.id": f"archiver-{settings.replica}",
                "session.timeout.ms": 10_000,
                "client.id": f"archiver-{settings.replica}",
                "fetch.min.bytes": _FETCH_BYTES,
                "fetch.wait.max.ms": _FETCH_MS,
            },
        )
        self._client.subscribe(
            list(self._topics),
            on_assign=self._on_assign,
            on_revoke=self._on_revoke,
            on_lost=self._on_revoke,
        )

    def step(self, now: float) -> int:
        """Consume for a moment and write what is due; after an assignment, find where to begin.

        Args:
            now: A clock in seconds.

        Returns:
            Number of objects written.

        Raises:
            KafkaException: The client cannot go on.
            ServerError: The store does not answer, or is ahead of a topic.
        """
        for message in self._client.consume(self._limits.max_records, _POLL_SECONDS):
            raise_error(message)
            if message.error() is None:
                self._keep(message, now)
        self._begin()
        awaited = self._runs.waiting()
        written = 0
        for place, buffer in self._buffers.items():
            if buffer.due(self._limits, now, awaited=awaited):
                self._write(place, buffer)
                written += 1
        if now - self._committed_at >= _COMMIT_SECONDS:
            self._committed_at = now
            self._commit(self._stored)
        _buffered.set(sum(buffer.bytes for buffer in self._buffers.values()))
        return written

    def places(self) -> set[Place] | None:
        """Name the partitions that are read here; None before an assignment."""
        return set(self._stored) if self.assigned else None

    def owned(self) -> set[tuple[str, int]]:
        """Name the same partitions as the archive does."""
        return {(self._topics[place.topic], place.partition) for place in set(self._stored)}

    def close(self) -> None:
        """Write what is buffered and leave."""
        for place, buffer in self._buffers.items():
            if buffer.records:
                self._write(place, buffer)
        # With a broker that is away librdkafka waits for what it has not committed; nobody else
        # does, since the store decides where we stand.
        leaving = threading.Thread(target=self._client.close, name="leaving", daemon=True)
        leaving.start()
        leaving.join(_LEAVE_SECONDS)
        self._runs.close()

    def _keep(self, message: Message, now: float) -> None:
        topic, partition, offset = message.topic(), message.partition(), message.offset()
        if topic is None or partition is None or offset is None:
            return
        buffer = self._buffers.setdefault((self._topics[topic], partition), Buffer())
        headers = [(name, value or b"") for name, value in message.headers() or []]
        buffer.add(
            Record(offset, message.timestamp()[1], message.key(), message.value(), headers), now
        )

    def _write(self, place: tuple[str, int], buffer: Buffer) -> None:
        """Store one object, then forget its records: the store decides where we stand."""
        topic, partition = place
        records = buffer.records
        item = ArchivedObject(topic, partition, records[0].offset, records[-1].offset)
        data = encode_records(records)
        fault_points.reached("archiver.before-output")
        self._store.put(item.key, data, CONTENT_TYPE)
        self._buffers[place] = Buffer()
        _records.labels(topic).inc(len(records))
        _objects.labels(topic).inc()
        _bytes.labels(topic).inc(len(data))
        name = next(name for name, short in self._topics.items() if short == topic)
        fault_points.reached("archiver.between-output-and-commit")
        self._stored[Place(name, partition)] = item.last + 1
        self._commit({Place(name, partition): item.last + 1})

    def _commit(self, stored: Mapping[Place, int]) -> None:
        """Say where the store stands: for the lag, and the watchdog, only.

        A commit that is lost is made up for by the next one of all partitions.
        """
        offsets = [TopicPartition(*place, offset) for place, offset in stored.items()]
        if offsets:
            self._client.commit(offsets=offsets, asynchronous=True)

    def _on_assign(self, client: Consumer, places: list[TopicPartition]) -> None:
        """Take partitions; they are read once `_begin` has found out from where."""
        client.assign([])
        self._forget()
        self._assigned = [Place(at.topic, at.partition) for at in places]
        self.assigned = True

    def _begin(self) -> None:
        """Look for the starts of partitions that were assigned, and read them when all are known.

        Raises:
            ServerError: Broker or store do not answer, or the archive is ahead of a topic.
        """
        if self._assigned is None:
            return
        if self._search is None:
            self._bounds = {
                place: Bounds(*watermarks(self._client, TopicPartition(*place)))
                for place in self._assigned
            }
            topics = {place: self._topics[place.topic] for place in self._assigned}
            self._search = StartSearch(self._store, topics, self._bounds)
        ends = self._search.result()
        if ends is None:
            return
        starts = {place: start_of(place, end, self._bounds[place]) for place, end in ends.items()}
        for place, start in starts.items():
            if start > ends[place]:
                _log.warning(
                    "records lost to retention", place=str(place), first=ends[place], last=start - 1
                )
        self._client.assign([TopicPartition(*place, start) for place, start in starts.items()])
        self._assigned = self._search = None
        self._stored = starts
        self._committed_at = 0.0
        _log.info("archiving", partitions=len(starts))

    def _on_revoke(self, client: Consumer, _: list[TopicPartition]) -> None:
        client.unassign()
        self._forget()
        self.assigned = False

    def _forget(self) -> None:
        """Drop what belongs to an assignment: all partitions are given and taken together."""
        self._buffers.clear()
        self._assigned = self._search = None
        self._stored = {}


class AwaitedRuns:
    """Knows whether a run waits for the archive: started, with no data manifest yet."""

    def __init__(self, settings: Settings) -> None:
        """Start reading `training.runs`."""
        self._tail = Tail(settings, [TRAINING_RUNS])
        self._read = EventReader[TrainingRun](TrainingRun)
        self._open: set[str] = set()

    def waiting(self) -> bool:
        """Read on, and say whether any run waits for the archive."""
        for _, message in self._tail.poll(0.0):
            try:
                run = self._read(message.value() or b"")
            except InvalidRecord:
                continue  # the trainer, whose topic it is, reports it
            if run.state == "started" and run.manifest is None:
                self._open.add(run.id)
            elif run.state in FINISHED or run.manifest is not None:
                self._open.discard(run.id)
        return bool(self._open)

    def close(self) -> None:
        """Leave the broker."""
        self._tail.close()


def main() -> int:
    """Archive until told to stop."""
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    try:
        settings = Settings.read()
        limits = ArchiverSettings.read()
        configure_logs(settings)
        fault_points.arm(settings.fault, settings.fault_marks)
        last_step = time.monotonic()

        def alive() -> str | None:
            silent = time.monotonic() - last_step
            waits = "servers" in health.waiting_for
            late = silent > _STALL_SECONDS and not waits
            return f"no progress for {silent:.0f} s" if late else None

        health = Health(alive, {"servers", "assignment"})
        serve_telemetry(settings, health)
        there = await_kafka(settings, [*ARCHIVED, TRAINING_RUNS], stop)
        partitions = await_partitions(settings, stop) if there else None
        if partitions is None or not await_store(settings, stop):
            return 0
        last_step = time.monotonic()
        health.waiting_for.discard("servers")
        archiver = Archiver(settings, limits, ObjectStore(settings))
        watchdog = Watchdog(
            settings,
            GROUP,
            archiver.places,
            stall_seconds=limits.max_seconds + limits.stall_seconds,
        )
        watchdog.start()
        partition_watch = PartitionWatch(settings, GROUP, partitions)
        partition_watch.start()
        merger = Merger(ObjectStore(settings), limits, archiver.owned)
        merger.start()
        while not stop.is_set():
            archiver.step(time.monotonic())
            last_step = time.monotonic()
            if archiver.owned():
                health.waiting_for.discard("assignment")
        watchdog.stop()
        partition_watch.stop()
        merger.stop()
        archiver.close()
    except MillraceError as error:
        say_error("archiver", error)
        return 1
    except KafkaException as error:
        say_error("archiver: Kafka", error)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
