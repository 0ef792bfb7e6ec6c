"""A batch on its way: from records to confirmed outputs.

For a batch of windows, in order: know the models; set the fences that are due; judge each
record; stamp and normalise it; feed the detectors and the join; write; wait until the
broker has confirmed it all. Only then may the batch be acknowledged, and only after the
memory that includes it is confirmed too (`checkpoint`).

What a crash repeats, and why it has no second effect:

- *normalised windows and dead letters* carry their source offset, so on taking a partition
  over, the outputs themselves tell what is already there, and it is not written again;
- *memory* of an asset says which offsets it includes, and passes over them;
- *outcomes and alerts* may be written again, with the same ids.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from typing import Final

import msgspec
import structlog

from contracts.dead_letter import dead_letter_headers
from contracts.events import (
    NORMALIZED_WINDOW,
    EventReader,
    JsonEvent,
    encode,
    event_time,
    headers_of,
    now,
)
from contracts.headers import SOURCE_OFFSET, cloud_event
from contracts.invalid_record import InvalidRecord
from contracts.normalized_window import NormalizedWindow
from contracts.prediction import Prediction
from contracts.source import Source
from contracts.topics import (
    DEAD_LETTERS,
    DRIFT_ALERTS,
    NORMALIZED,
    OUTCOMES,
    SENSOR_WINDOWS,
    SERVING_LEDGER,
    Topic,
)
from contracts.window import MSGPACK
from drift.monitor import Finding
from infra.model_feed import ModelFeed
from stream_processors.alerts import alert_of
from stream_processors.asset import Asset
from stream_processors.batching import Record
from stream_processors.history import History
from stream_processors.metrics import DEAD, DUPLICATES, FENCES, OUTCOMES_JOINED, WINDOWS
from stream_processors.outcomes import outcome_of
from stream_processors.outputs import Outputs
from stream_processors.snapshots import Snapshots
from stream_processors.stamps import Stamps
from stream_processors.validation import Accepted, validate

_log = structlog.get_logger(__name__)
_ORIGIN: Final = "/millrace/stream-processor"
_pack = msgspec.msgpack.Encoder().encode


class _Position:
    """How far a partition of `sensor.windows` has come.

    Attributes:
        next: Offset of the next record.
        written: By topic, the last source offset that is in the output already.
    """

    def __init__(self, written: dict[str, int]) -> None:
        self.next = max([-1, *written.values()]) + 1
        self.written = written

    def is_written(self, topic: Topic, offset: int) -> bool:
        return offset <= self.written.get(topic.name, -1)


class Processor:
    """Works off batches; owned by the event loop, one batch at a time."""

    def __init__(
        self, feed: ModelFeed, history: History, outputs: Outputs, snapshots: Snapshots
    ) -> None:
        """Take the collaborators, and learn the fences that are in the ledger."""
        self._feed = feed
        self._history = history
        self._outputs = outputs
        self._snapshots = snapshots
        self._stamps = Stamps()
        self._owned: set[int] = set()
        self._positions: dict[int, _Position] = {}
        self._read_prediction = EventReader[Prediction](Prediction)
        self._is_caught_up = False
        self._turn = asyncio.Lock()
        self._learn_fences()

    async def windows(self, partition: int, records: Sequence[Record]) -> None:
        """Work off a batch of `sensor.windows`; on return its outputs are confirmed."""
        async with self._turn:
            position = await self._position(partition)
            self._feed.poll(0)
            self._is_caught_up = False
            position.next = max(position.next, records[0].offset)
            await self._fence(partition, position)
            for record in records:
                position.next = max(position.next, record.offset)
                await self._window(partition, record, position)
            position.next = max(position.next, records[-1].offset + 1)
            await self._outputs.confirmed()

    async def predictions(self, partition: int, records: Sequence[Record]) -> None:
        """Work off a batch of `predictions`; on return its outputs are confirmed."""
        async with self._turn:
            self._feed.poll(0)
            for record in records:
                self._prediction(partition, record)
            await self._outputs.confirmed()

    async def fence_idle_partitions(self) -> None:
        """Set the fences that are due where no window happens to come."""
        async with self._turn:
            self._feed.poll(0)
            for partition in sorted(self._owned | self._positions.keys()):
                await self._fence(partition, await self._position(partition))

    async def checkpoint(self) -> None:
        """Confirm the memory of all assets that changed since the last time."""
        async with self._turn:  # between batches: all outputs so far are confirmed
            written = self._snapshots.write()
        await written

    def release(self) -> None:
        """Set no fences for now: partitions are being handed over."""
        self._owned = set()
        self._positions.clear()

    def own(self, partitions: set[int]) -> None:
        """Take over partitions, and forget what was known of others: they have other owners.

        Args:
            partitions: All partitions of `sensor.windows` that are ours from now on.
        """
        self._owned = partitions
        self._positions.clear()
        self._snapshots.forget()
        self._learn_fences()

    def _learn_fences(self) -> None:
        for entry in self._history.fences():
            self._stamps.learn(entry)

    async def _position(self, partition: int) -> _Position:
        """Find how far a partition has come, from the outputs, on taking it over."""
        position = self._positions.get(partition)
        if position is None:
            written: dict[str, int] = {}
            for topic in (NORMALIZED, DEAD_LETTERS):
                last = await asyncio.to_thread(self._history.written_through, topic, partition)
                if last is not None:
                    written[topic.name] = last
            position = self._positions[partition] = _Position(written)
            _log.info("partition taken", partition=partition, next=position.next)
        return position

    async def _fence(self, partition: int, position: _Position) -> None:
        """Write and confirm the ledger entries that the next window needs."""
        models = self._feed.registry.models.values()
        entries = self._stamps.due(models, partition, position.next, now())
        for entry in entries:
            self._outputs.write(
                SERVING_LEDGER, entry.key, encode(entry), headers_of(entry, _ORIGIN, now())
            )
        if entries:
            await self._outputs.confirmed()
        for entry in entries:
            self._stamps.learn(entry)
            FENCES.inc()
            _log.info(
                "stamped from here",
                model=entry.model,
                version=entry.version,
                epoch=entry.epoch,
                partition=partition,
                offset=entry.first_offset,
            )

    async def _window(self, partition: int, record: Record, position: _Position) -> None:
        """Take one record of `sensor.windows`."""
        try:
            accepted = await self._validate(record, position)
        except InvalidRecord as problem:
            if not position.is_written(DEAD_LETTERS, record.offset):
                self._dead_letter(record, problem)
            return
        spec = accepted.model.spec
        asset = self._snapshots.asset(spec.name, accepted.window.asset, partition)
        seen = record.offset <= asset.windows_through
        if seen:
            return
        if asset.is_repeated(accepted.window.start_ms):
            DUPLICATES.inc()
            return
        stamped = self._stamp(accepted, record)
        if not position.is_written(NORMALIZED, record.offset):
            self._write_normalised(stamped, record)
        window = accepted.window
        asset.windows_through = record.offset
        asset.remember(window.start_ms)
        asset.forecasts.add_window(window, record.offset, spec)
        reference = accepted.model.versions[asset.monitor.reference(stamped.version)].registered
        means = reference.normaliser.apply(accepted.filled, accepted.present).mean(axis=0)
        findings = asset.monitor.inputs(
            spec.sensors,
            [float(m) if p else None for m, p in zip(means, accepted.present, strict=True)],
            window.end_ms,
        )
        self._alert(
            findings, stamped.asset, spec.name, stamped.version, stamped.source, window.end_ms
        )
        self._join(asset)

    async def _validate(self, record: Record, position: _Position) -> Accepted:
        """Validate a record; before a model is missed, make sure that all are known."""
        judge = (record.key, record.value, list(record.headers), self._feed.registry)
        wall = round(time.time() * 1000)
        try:
            return validate(*judge, wall)
        except InvalidRecord as problem:
            if problem.reason not in {"unknown_sensor_set", "wrong_shape"}:
                raise
        if not self._is_caught_up:  # once for a batch, however many such records it has
            self._is_caught_up = True
            if self._feed.catch_up():
                await self._fence(record.partition, position)
        return validate(*judge, wall)

    def _stamp(self, accepted: Accepted, record: Record) -> NormalizedWindow:
        """Normalise a window for the version that the ledger gives it, and say so on it."""
        spec = accepted.model.spec
        fence = self._stamps.at(spec.name, record.partition, record.offset)
        version = accepted.model.versions[fence.version].registered
        window = accepted.window
        normalised = version.normaliser.apply(accepted.filled, accepted.present)
        return NormalizedWindow(
            window_id=window.id,
            asset=window.asset,
            model=spec.name,
            version=fence.version,
            epoch=fence.epoch,
            source=_source(record),
            start_ms=window.start_ms,
            end_ms=window.end_ms,
            values=normalised.astype("<f4").tobytes(),
            present=accepted.present.tobytes(),
            segment=window.segment,
        )

    def _write_normalised(self, stamped: NormalizedWindow, record: Record) -> None:
        headers = cloud_event(stamped.window_id, NORMALIZED_WINDOW, _ORIGIN, MSGPACK, now())
        headers.append((SOURCE_OFFSET, str(record.offset).encode()))
        self._outputs.write(NORMALIZED, record.key, _pack(stamped), headers, record.partition)
        WINDOWS.labels(stamped.model).inc()

    def _dead_letter(self, record: Record, problem: InvalidRecord) -> None:
        headers = dead_letter_headers(
            list(record.headers),
            problem,
            topic=SENSOR_WINDOWS.name,
            partition=record.partition,
            offset=record.offset,
            timestamp_ms=record.timestamp,
        )
        headers.append((SOURCE_OFFSET, str(record.offset).encode()))
        self._outputs.write(
            DEAD_LETTERS, record.key, record.value or b"", headers, record.partition
        )
        DEAD.labels(problem.reason).inc()

    def _prediction(self, partition: int, record: Record) -> None:
        """Take one record of `predictions`."""
        try:
            prediction = self._read_prediction(record.value or b"")
        except InvalidRecord as problem:
            _log.warning("prediction passed over", offset=record.offset, why=str(problem))
            return
        asset = self._snapshots.asset(prediction.model, prediction.asset, partition)
        if record.offset <= asset.predictions_through:
            return
        asset.predictions_through = record.offset
        asset.forecasts.add_prediction(prediction, asset.windows_through)
        self._join(asset)

    def _join(self, asset: Asset) -> None:
        """Write the outcomes that are settled, and watch the errors."""
        for prediction, truth in asset.forecasts.take_resolved():
            model = self._feed.registry.models[prediction.model]
            scale = model.versions[prediction.version].registered.normaliser
            outcome = outcome_of(prediction, truth, scale, model.spec, now())
            if outcome is None:
                continue
            self._publish(OUTCOMES, prediction.asset, outcome, prediction.source.partition)
            OUTCOMES_JOINED.labels(prediction.model).inc()
            end_ms = round(outcome.interval_end.timestamp() * 1000)
            findings = asset.monitor.outcome(
                outcome.epoch, outcome.version, outcome.error, outcome.skill, end_ms
            )
            self._alert(
                findings, outcome.asset, outcome.model, outcome.version, outcome.source, end_ms
            )

    def _alert(
        self,
        findings: list[Finding],
        asset: str,
        model: str,
        version: int,
        source: Source,
        time_ms: int,
    ) -> None:
        for finding in findings:
            alert = alert_of(
                finding, asset=asset, model=model, version=version, source=source, time_ms=time_ms
            )
            self._publish(DRIFT_ALERTS, asset, alert, source.partition)
            _log.info("drift", what=alert.detail, at=str(event_time(time_ms)))

    def _publish(self, topic: Topic, key: str, event: JsonEvent, partition: int) -> None:
        self._outputs.write(topic, key, encode(event), headers_of(event, _ORIGIN, now()), partition)


def _source(record: Record) -> Source:
    return Source(SENSOR_WINDOWS.name, record.partition, record.offset, record.timestamp)
