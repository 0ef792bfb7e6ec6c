"""The Faust app: what it reads, what it remembers, when it acknowledges.

    sensor.windows ─┐
                    ├─► agent ─► Processor ─► outputs confirmed ─► (checkpoint) ─► acknowledged
    predictions ────┘

One agent reads both topics, so that an asset's memory has one owner. Batches are
acknowledged together, after a checkpoint has confirmed the memory that includes them.
"""

from __future__ import annotations

import asyncio
import os
import ssl
import time
from collections.abc import Sequence
from typing import Any, Final, NoReturn

import faust
import structlog

from contracts.topics import PREDICTIONS, SENSOR_WINDOWS
from infra.model_feed import ModelFeed
from infra.settings import Settings
from infra.telemetry import Health
from stream_processors.batching import BatchApp, Record
from stream_processors.history import KafkaHistory
from stream_processors.outputs import Outputs
from stream_processors.processor import Processor
from stream_processors.snapshots import Snapshots

_log = structlog.get_logger(__name__)

#: How often memory is confirmed and batches are acknowledged: what a crash repeats, seconds.
CHECKPOINT_SECONDS: Final = 0.5
#: How often partitions without traffic are looked at for due fences, seconds.
IDLE_SECONDS: Final = 0.1
#: Records in a batch, at most.
BATCH_RECORDS: Final = 2000
#: Batches that wait in memory, at most, per topic.
WAITING_BATCHES: Final = 8
#: How long the group waits for a process that is silent, seconds.
SESSION_SECONDS: Final = 15.0
#: Longest time without progress of a healthy process (table recovery included), seconds.
STALL_SECONDS: Final = 120.0
EXIT_BROKEN: Final = 70


def build_app(settings: Settings, health: Health) -> faust.App:
    """Build the app; nothing is connected before it starts."""
    data = settings.home / "faust"
    data.mkdir(parents=True, exist_ok=True)
    app = BatchApp(
        settings.named("millrace.stream-processor"),
        broker=[f"aiokafka://{host}" for host in settings.kafka_bootstrap_servers.split(",")],
        broker_credentials=_credentials(settings),
        broker_max_poll_records=BATCH_RECORDS,
        broker_commit_interval=CHECKPOINT_SECONDS,
        broker_session_timeout=SESSION_SECONDS,
        # A process that is killed and started again takes its own place in the group at once;
        # under a new name it would wait until the group has missed the old one.
        consumer_group_instance_id=f"stream-processor-{settings.replica}",
        consumer_auto_offset_reset="earliest",
        producer_compression_type="zstd",
        producer_max_request_size=4 << 20,
        stream_buffer_maxsize=WAITING_BATCHES,
        # A rebalance waits until the batches in flight are acknowledged.
        stream_wait_empty=True,
        topic_partitions=settings.kafka_partitions,
        topic_replication_factor=settings.kafka_replication,
        topic_disable_leader=True,
        store="memory://",
        web_enabled=False,
        datadir=str(data),
    )
    topic = app.topic(
        settings.named(SENSOR_WINDOWS.name),
        settings.named(PREDICTIONS.name),
        value_serializer="raw",
        key_serializer="raw",
        value_type=None,
    )
    table = app.Table(
        "assets", partitions=settings.kafka_partitions, key_type=bytes, value_type=bytes
    )
    _Wiring(app, settings, health, table).attach(topic)
    return app


class _Wiring:
    """Connects the app's events to the processor."""

    def __init__(self, app: faust.App, settings: Settings, health: Health, table: Any) -> None:
        self._app = app
        self._settings = settings
        self._health = health
        self._snapshots = Snapshots(table)
        self._processor: Processor | None = None
        self._owned: set[int] = set()
        self._unacknowledged: list[Any] = []
        self._beat = time.monotonic()
        health.waiting_for |= {"registry", "partitions"}
        health.alive = self._problem

    def attach(self, topic: Any) -> None:
        app = self._app
        app.agent(topic, concurrency=1, name="windows")(self._agent)
        app.task(self._checkpoints)
        app.task(self._idle_fences)
        app.on_partitions_revoked.connect(self._on_revoked)
        app.on_partitions_assigned.connect(self._on_assigned)

    async def _agent(self, stream: Any) -> None:
        """Work off batches; acknowledge none here."""
        try:
            processor = self._start()
        except Exception:  # noqa: BLE001  (whatever it is, it ends the process)
            self._give_up("it could not start")
        async for event in stream.noack().events():
            records: Sequence[Record] = event.value
            tp = event.message.tp
            try:
                if tp.topic == self._settings.named(SENSOR_WINDOWS.name):
                    await processor.windows(tp.partition, records)
                else:
                    await processor.predictions(tp.partition, records)
            except Exception:  # noqa: BLE001  (whatever it is, it ends the process)
                self._give_up("a batch failed")
            self._unacknowledged.append(event)

    async def _checkpoints(self) -> None:
        """Confirm memory, then acknowledge the batches that it includes."""
        while not self._app.should_stop:
            await asyncio.sleep(CHECKPOINT_SECONDS)
            if self._processor is None or not self._unacknowledged:
                continue
            included, self._unacknowledged = self._unacknowledged, []
            try:
                await self._processor.checkpoint()
            except Exception:  # noqa: BLE001  (whatever it is, it ends the process)
                self._give_up("a checkpoint failed")
            for event in included:
                event.ack()

    async def _idle_fences(self) -> None:
        """Fence partitions without traffic; this also shows that no batch is stuck."""
        while not self._app.should_stop:
            await asyncio.sleep(IDLE_SECONDS)
            if self._processor is None or not self._recovered():
                continue
            try:
                await self._processor.fence_idle_partitions()
            except Exception:  # noqa: BLE001  (whatever it is, it ends the process)
                self._give_up("a fence could not be set")
            self._beat = time.monotonic()
            if self._owned:
                self._health.waiting_for.discard("partitions")

    def _recovered(self) -> bool:
        """Whether the memory of all assets has been read back."""
        tables: Any = self._app.tables  # typed as a port that does not know its recovery
        return bool(tables.recovery.completed.is_set())

    def _problem(self) -> str | None:
        silent = time.monotonic() - self._beat
        return f"no progress for {silent:.0f} s" if silent > STALL_SECONDS else None

    async def _on_revoked(self, *_: Any, **__: Any) -> None:
        """Set no fence in a partition that may have another owner now."""
        if self._processor is not None:
            self._processor.release()

    async def _on_assigned(self, *arguments: Any, **_: Any) -> None:
        _app, assigned = arguments
        self._unacknowledged.clear()
        windows = self._settings.named(SENSOR_WINDOWS.name)
        self._owned = {tp.partition for tp in assigned if tp.topic == windows}
        if self._processor is not None:
            self._processor.own(self._owned)

    def _start(self) -> Processor:
        feed = ModelFeed(self._settings)
        feed.catch_up()
        settings = self._settings
        self._processor = Processor(
            feed, KafkaHistory(settings), Outputs(settings), self._snapshots
        )
        self._processor.own(self._owned)
        self._health.waiting_for.discard("registry")
        return self._processor

    def _give_up(self, what: str) -> NoReturn:
        """End the process before anything is acknowledged; the supervisor restarts it.

        Faust would acknowledge a batch whose agent raised, so raising is no way out.
        """
        _log.exception("stream processor ends", what=what)
        os._exit(EXIT_BROKEN)


def _credentials(settings: Settings) -> Any:
    """SASL and TLS, as Faust wants them."""
    protocol = settings.kafka_security_protocol
    if protocol == "PLAINTEXT":
        return None
    context = None
    if protocol.endswith("SSL"):
        context = ssl.create_default_context(
            cafile=str(settings.kafka_ssl_ca) if settings.kafka_ssl_ca else None
        )
        if settings.kafka_ssl_certificate is not None:
            context.load_cert_chain(
                str(settings.kafka_ssl_certificate),
                str(settings.kafka_ssl_key) if settings.kafka_ssl_key else None,
            )
    if protocol == "SSL":
        return faust.SSLCredentials(context)
    return faust.SASLCredentials(
        username=settings.kafka_sasl_username,
        password=settings.kafka_sasl_password.get_secret_value(),
        mechanism=settings.kafka_sasl_mechanism,
        ssl_context=context,
    )
