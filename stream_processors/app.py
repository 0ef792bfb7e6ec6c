"""The Faust app; one file, since its parts share one event loop's state.

Its topics, its table, and when it acknowledges:

    sensor.windows ─┐
                    ├─► agent ─► BatchQueue ─► Processor ─► outputs confirmed ─► (checkpoint)
    predictions ────┘                                                       ─► acknowledged

One agent receives the messages of both topics, and one task processes them in sequence, so that an
asset's memory has one owner. A prediction that arrives before its window is deferred until the
window has been processed (`early_predictions`). Batches are acknowledged together, after a
checkpoint has confirmed the memory that includes them.
"""

from __future__ import annotations

import asyncio
import os
import sys
import time
from collections import defaultdict
from collections.abc import Sequence
from typing import Any, Final, NoReturn, cast

import faust
import structlog
from faust.types import TP

from millrace.contracts.topics import CHANGELOG, PREDICTIONS, SENSOR_WINDOWS, Topic
from millrace.contracts.wire.groups import STREAM_PROCESSOR
from millrace.drift.selection import Detectors
from millrace.infra.kafka.faust import faust_credentials
from millrace.infra.kafka.model_feed import ModelFeed
from millrace.infra.kafka.place import Place
from millrace.infra.process import fault_points
from millrace.infra.process.exit_status import BROKEN
from millrace.infra.process.partition_watch import PartitionWatch
from millrace.infra.process.suspend_guard import SuspendGuard
from millrace.infra.process.telemetry import Health
from millrace.infra.process.watchdog import Watchdog
from millrace.infra.settings import Settings
from millrace.infra.topics.settings import topic_config
from millrace.stream_processors.metrics import RECOVERY_REMAINING
from millrace.stream_processors.monitoring import DriftMonitor
from millrace.stream_processors.outcomes.early_predictions import EarlyPredictions
from millrace.stream_processors.processor import BLOCK_RECORDS, Processor
from millrace.stream_processors.recovery.history import KafkaHistory
from millrace.stream_processors.recovery.memory import MemoryTable, Recovery
from millrace.stream_processors.state.snapshots import Snapshots
from millrace.stream_processors.transport.batch_queue import BatchQueue, divide
from millrace.stream_processors.transport.batching import BatchApp, BatchConsumer
from millrace.stream_processors.transport.lineages import LOOK_SECONDS, Lineages
from millrace.stream_processors.transport.outputs import Outputs
from millrace.stream_processors.transport.records import Record
from millrace.stream_processors.windows.letters import Letters, StoredValues

_log = structlog.get_logger(__name__)

#: Seconds between checkpoints, which confirm memory and acknowledge batches. A crash repeats at
#: most this much work.
CHECKPOINT_SECONDS: Final = 0.5
#: While memory is large (inference is far behind, say), checkpoints are rarer: this multiple of the
#: time that encoding takes, up to `LONGEST_PAUSE` seconds.
MEMORY_PAUSE: Final = 15
LONGEST_PAUSE: Final = 2.0
#: How often the progress of a recovery is checked, and how often it is logged, seconds.
RECOVERY_LOOK_SECONDS: Final = 0.5
RECOVERY_TELL_SECONDS: Final = 5.0
#: How often idle partitions are checked for due fences, seconds.
IDLE_SECONDS: Final = 0.1
#: Records in a batch, at most.
BATCH_RECORDS: Final = 4000
#: Bytes of a partition in one fetch: several batches, so that fetching stays ahead of processing.
FETCH_BYTES: Final = 4 << 20
#: Most batches buffered in memory per topic.
WAITING_BATCHES: Final = 8
#: Session timeout of the consumer group, seconds.
SESSION_SECONDS: Final = 15.0
#: After a suspension of this length the process must not write any more: the group has reassigned
#: its partitions, or is about to.
FROZEN_SECONDS: Final = 0.6 * SESSION_SECONDS
#: Maximum age of the consumer's topic metadata, milliseconds. A broker that is restarting may list
#: no topics yet; a process that joins the group then has no partitions until the next refresh, by
#: default after five minutes.
METADATA_MS: Final = 5_000
#: Time limit of a shutdown, from the stop signal on, seconds.
END_SECONDS: Final = 6.0
#: Longest time without progress of a healthy process, seconds. An advancing recovery is progress.
STALL_SECONDS: Final = 120.0


def read_topics(settings: Settings) -> list[Topic]:
    """Return the topics to read: predictions only if errors are monitored."""
    return [SENSOR_WINDOWS, PREDICTIONS] if settings.monitoring else [SENSOR_WINDOWS]


def build_app(
    settings: Settings,
    health: Health,
    partitions: int,
    member: str,
    detectors: Detectors | None,
) -> faust.App:
    """Build the app; it connects when it starts.

    Args:
        settings: Addresses and names of all services.
        health: Records what the app is waiting for, until it is ready.
        partitions: Number of partitions of each topic that is keyed by asset.
        member: Static member id of the process in its consumer group. After a restart it takes its
            own partitions over at once; with a new id it would have to wait for the session timeout
            of the old one.
        detectors: Drift detectors of each signal; None if nothing is to be monitored.
    """
    data = settings.home / "faust"
    data.mkdir(parents=True, exist_ok=True)
    app = BatchApp(
        settings.named(STREAM_PROCESSOR),
        broker=[f"aiokafka://{host}" for host in settings.kafka_bootstrap_servers.split(",")],
        broker_credentials=faust_credentials(settings),
        broker_max_poll_records=BATCH_RECORDS,
        consumer_max_fetch_size=FETCH_BYTES,
        broker_commit_interval=CHECKPOINT_SECONDS,
        broker_session_timeout=SESSION_SECONDS,
        consumer_group_instance_id=member,
        consumer_auto_offset_reset="earliest",
        consumer_metadata_max_age_ms=METADATA_MS,
        producer_compression_type="zstd",
        producer_max_request_size=4 << 20,
        stream_buffer_maxsize=WAITING_BATCHES,
        # A rebalance waits until the batches in flight are acknowledged.
        stream_wait_empty=True,
        topic_partitions=partitions,
        topic_replication_factor=settings.kafka_replication,
        topic_disable_leader=True,
        store="memory://",
        web_enabled=False,
        datadir=str(data),
        Table=MemoryTable,
    )
    topic = app.topic(
        *(settings.named(topic.name) for topic in read_topics(settings)),
        value_serializer="raw",
        key_serializer="raw",
        value_type=None,
    )
    table = app.Table(
        "assets",
        partitions=partitions,
        key_type=bytes,
        value_type=bytes,
        extra_topic_configs=topic_config(CHANGELOG),
    )
    _Wiring(app, settings, health, cast(MemoryTable, table), partitions, detectors).attach(topic)
    return app


class _Wiring:
    """Connects the app's events to the processor."""

    def __init__(
        self,
        app: BatchApp,
        settings: Settings,
        health: Health,
        table: MemoryTable,
        partitions: int,
        detectors: Detectors | None,
    ) -> None:
        self._app = app
        self._detectors = detectors
        self._recovery = Recovery(app)
        self._settings = settings
        self._health = health
        self._table = table
        self._outputs: Outputs | None = None
        self._processor: Processor | None = None
        self._early: EarlyPredictions | None = None
        self._gathering = BatchQueue(BLOCK_RECORDS)
        self._owned: set[int] = set()
        self._assigned: frozenset[TP] = frozenset()
        self._lineages = app.lineages = Lineages(settings, self._give_up)
        self._unacknowledged: list[Any] = []
        self._follower: asyncio.Task[None] | None = None
        self._places: frozenset[Place] | None = None
        self._watchdog = Watchdog(
            settings, STREAM_PROCESSOR, owned=self._worked_on, started=lambda: table.applied
        )
        self._partitions = partitions
        self._partition_watch = PartitionWatch(settings, STREAM_PROCESSOR, partitions)
        self._guard = SuspendGuard(FROZEN_SECONDS)
        self._beat = time.monotonic()
        health.waiting_for |= {"registry", "partitions"}
        health.alive = self._problem

    def attach(self, topic: Any) -> None:
        app = self._app
        app.agent(topic, concurrency=1, name="windows")(self._agent)
        app.task(self._work)
        app.task(self._checkpoints)
        app.task(self._idle_fences)
        app.task(self._look_at_topics)
        app.task(self._end_in_time)
        app.on_partitions_revoked.connect(self._on_revoked)
        app.on_partitions_assigned.connect(self._on_assigned)
        app.on_rebalance_complete.connect(self._on_recovered)
        app.on_before_shutdown.connect(self._on_shutdown)
        self._watchdog.start()
        self._partition_watch.start()

    async def _agent(self, stream: Any) -> None:
        """Take messages; acknowledge none here."""
        self._guard.start()
        # Faust starts an app's tasks once the first recovery is complete.
        self._follower = asyncio.create_task(self._follow_recovery())
        try:
            await self._start()
        except Exception:  # noqa: BLE001  (any error ends the process)
            self._give_up("it could not start")
        async for event in stream.noack().events():
            await self._gathering.put(event)

    async def _work(self) -> None:
        """Process the queued messages; continues while the app is stopping."""
        while True:
            found = await self._gathering.take()
            self._guard.check()
            try:
                await self._process(self._ours(found))
            except Exception:  # noqa: BLE001  (whatever it is, it ends the process)
                self._give_up("a batch failed")
            del found  # otherwise Faust waits for acknowledgements of messages dropped meanwhile

    def _ours(self, found: Sequence[Any]) -> Sequence[Any]:
        """Drop messages that arrive during a rebalance; the next owner reads them again."""
        app = self._app
        ours, others = divide(
            found, flowing=app.flow_control.is_active(), generation=app.consumer_generation_id
        )
        for event in others:
            cast(BatchConsumer, app.consumer).defer(event.message)
        return ours

    async def _process(self, found: Sequence[Any]) -> None:
        """Process messages: first windows, those of all partitions together, then predictions."""
        if self._processor is None or self._early is None:
            raise RuntimeError("nothing is taken before all is there")
        consumer = cast(BatchConsumer, self._app.consumer)
        of_windows = self._settings.named(SENSOR_WINDOWS.name)
        windows = [event for event in found if event.message.tp.topic == of_windows]
        predictions = [event for event in found if event.message.tp.topic != of_windows]
        if windows:
            records: dict[int, Sequence[Record]] = {}
            for event in windows:
                partition = event.message.tp.partition
                earlier = records.get(partition)
                records[partition] = [*earlier, *event.value] if earlier else event.value
            await self._processor.windows(records)
            for event in windows:
                self._processed(event)
            for partition in records:
                await self._early.drain(partition)
            await consumer.hand_on()
        for event in predictions:
            await self._early.add(event)
        if predictions:
            await consumer.hand_on()

    def _processed(self, event: Any) -> None:
        """Have a batch acknowledged after the next checkpoint."""
        self._unacknowledged.append(event)

    async def _checkpoints(self) -> None:
        """Confirm memory, then acknowledge the batches that it includes.

        It continues while the app is stopping, because the app stops only after these
        acknowledgements.
        """
        pause = CHECKPOINT_SECONDS
        while True:
            await asyncio.sleep(pause)
            if self._processor is None or not self._unacknowledged:
                continue
            included, self._unacknowledged = self._unacknowledged, []
            try:
                busy = await self._processor.checkpoint(self._write_memory)
                pause = min(max(CHECKPOINT_SECONDS, MEMORY_PAUSE * busy), LONGEST_PAUSE)
                fault_points.reached("stream-processor.between-state-and-acknowledgement")
            except Exception:  # noqa: BLE001  (any error ends the process)
                self._give_up("a checkpoint failed")
            for event in included:
                event.ack()

    async def _idle_fences(self) -> None:
        """Fence idle partitions, process deferred predictions; progress shows no batch is stuck."""
        while not self._app.should_stop:
            await asyncio.sleep(IDLE_SECONDS)
            if self._processor is None or not self._lineages.has_taken(self._owned):
                continue
            try:
                await self._processor.fence_idle_partitions()
                if self._early is not None:
                    await self._early.drain()
            except Exception:  # noqa: BLE001  (whatever it is, it ends the process)
                self._give_up("an idle partition could not be looked after")
            self._beat = time.monotonic()
            if self._owned:
                self._health.waiting_for.discard("partitions")

    async def _look_at_topics(self) -> None:
        """End the process if a topic that it reads was deleted and recreated."""
        while not self._app.should_stop:
            await asyncio.sleep(LOOK_SECONDS)
            try:
                await self._lineages.look()
            except Exception:  # noqa: BLE001  (any error ends the process)
                self._give_up("the topics could not be looked at")

    async def _end_in_time(self) -> None:
        """Acknowledge nothing more if shutdown takes too long: Kafka is then unavailable."""
        await self._app.wait_for_stopped()
        await asyncio.sleep(END_SECONDS)
        self._give_up("batches could not be acknowledged before its end")

    async def _follow_recovery(self) -> None:
        """Log the progress of a changelog recovery; while it advances, the process is healthy."""
        applied, told = 0, time.monotonic()
        while not self._app.should_stop:
            await asyncio.sleep(RECOVERY_LOOK_SECONDS)
            try:
                remaining = self._recovery.remaining()
            except Exception:  # noqa: BLE001  (any error ends the process)
                self._give_up("the progress of its recovery is unknown")
            RECOVERY_REMAINING.set(remaining)
            if not remaining:
                self._health.waiting_for.discard("recovery")
                continue
            self._health.waiting_for.add("recovery")
            if self._table.applied != applied:
                applied, self._beat = self._table.applied, time.monotonic()
            if time.monotonic() - told >= RECOVERY_TELL_SECONDS:
                told = time.monotonic()
                _log.info("reads memory back", records=applied, remaining=remaining)

    def _problem(self) -> str | None:
        silent = time.monotonic() - self._beat
        return f"no progress for {silent:.0f} s" if silent > STALL_SECONDS else None

    def _worked_on(self) -> frozenset[Place] | None:
        """Partitions whose lag the watchdog checks; None before they are known.

        A partition of `predictions` whose next records are deferred is left out: its lag depends on
        the partition of `sensor.windows`, which is checked.
        """
        if self._places is None or self._early is None:
            return None
        if self._recovery.running or not self._recovery.completed:
            return None
        return self._places - self._early.places

    async def _on_shutdown(self, *_: Any, **__: Any) -> None:
        self._watchdog.stop()
        self._partition_watch.stop()
        self._guard.stop()
        if self._outputs is not None:
            await self._outputs.close()

    async def _on_revoked(self, *_: Any, **__: Any) -> None:
        """Stop writing fences: a revoked partition may already have another owner."""
        self._lineages.release()
        if self._processor is not None:
            self._processor.release()
        if self._early is not None:
            self._early.drop()

    async def _on_assigned(self, *arguments: Any, **_: Any) -> None:
        _app, assigned = arguments
        self._assigned = frozenset(assigned)
        self._lineages.release()
        self._check_partitions()
        self._unacknowledged.clear()
        changelogs = self._app.tables.changelog_topics
        self._places = frozenset(
            Place(tp.topic, tp.partition) for tp in assigned if tp.topic not in changelogs
        )
        windows = self._settings.named(SENSOR_WINDOWS.name)
        self._owned = {tp.partition for tp in assigned if tp.topic == windows}
        if self._processor is not None:
            self._processor.own(self._owned)
        if self._early is not None:
            self._early.drop()

    async def _on_recovered(self, *_: Any, **__: Any) -> None:
        """Determine the start offsets of partitions, before any of their records are delivered."""
        try:
            await self._lineages.take_over(self._assigned)
        except Exception:  # noqa: BLE001  (any error ends the process)
            self._give_up("partitions could not be taken over")

    def _check_partitions(self) -> None:
        """End the process if the changelog has fewer partitions than `sensor.windows`.

        Faust does not co-partition topics with different partition counts: this process might be
        assigned a partition of windows, and another process the memory of their assets.
        """
        actives = self._app.assignor.assigned_actives()
        by_topic: dict[str, set[int]] = defaultdict(set)
        for tp in actives:
            by_topic[tp.topic].add(tp.partition)
        several = len({frozenset(partitions) for partitions in by_topic.values()}) > 1
        if several or any(tp.partition >= self._partitions for tp in actives):
            self._give_up("topics have other partitions than when it began")

    async def _start(self) -> None:
        settings = self._settings
        feed = ModelFeed(settings)
        feed.catch_up()
        self._outputs = outputs = await Outputs.connect(
            settings, self._guard.check, self._on_unwritten
        )
        self._processor = Processor(
            feed,
            KafkaHistory(settings, self._lineages),
            outputs,
            Snapshots(self._table.data),
            None
            if self._detectors is None
            else DriftMonitor(feed.registry, outputs, self._detectors),
            Letters(outputs, StoredValues(settings)),
        )
        self._processor.own(self._owned)
        self._early = EarlyPredictions(
            self._processor.predictions,
            cast(BatchConsumer, self._app.consumer),
            settings.named(SENSOR_WINDOWS.name),
            self._processed,
            time.time,
        )
        self._health.waiting_for.discard("registry")

    def _on_unwritten(self, failure: BaseException) -> NoReturn:
        self._give_up(f"records were not confirmed by Kafka: {failure!r}")

    def _write_memory(self, key: bytes, memory: bytes, partition: int) -> None:
        """Write to the table's changelog as Faust does, but confirmed with the other outputs."""
        if self._outputs is not None:
            changelog = self._table.changelog_topic.get_topic_name()
            self._outputs.write(changelog, key, memory, [], partition)

    def _give_up(self, what: str) -> NoReturn:
        """End the process without acknowledging anything; the supervisor restarts it.

        Raising would not do: Faust acknowledges a batch whose agent raised.
        """
        _log.error("stream processor ends", what=what, exc_info=sys.exception() is not None)
        os._exit(BROKEN)
