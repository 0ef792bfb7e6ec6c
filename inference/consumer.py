"""A micro-batch: read, predict, write, and commit all of it together.

Predictions and the offsets of the windows that they answer are one Kafka transaction per
micro-batch. A crash before the commit leaves nothing that a `read_committed` reader sees; a
crash after it leaves all. A window that comes twice (the stream processor repeats a batch
after a crash) is recognised by its source offset: predictions of a partition are written in
the order of their sources, so the last committed one tells what has been answered.
"""

from __future__ import annotations

from typing import Final

import msgspec
import structlog
from confluent_kafka import Consumer, KafkaException, Message, Producer, TopicPartition

from contracts.dead_letter import dead_letter_headers
from contracts.events import PREDICTION, encode, now
from contracts.headers import SOURCE_OFFSET, cloud_event
from contracts.invalid_record import InvalidRecord
from contracts.normaliser import Normaliser
from contracts.normalized_window import NormalizedWindow
from contracts.prediction import Prediction
from contracts.topics import DEAD_LETTERS, NORMALIZED, PREDICTIONS
from contracts.window import JSON
from inference.batches import Stamp, by_stamp
from inference.loader import Loader
from inference.metrics import BATCH, FALLBACKS, LATENCY, REPEATED
from inference.metrics import PREDICTIONS as PREDICTED
from inference.predictions import predict
from inference.servables import Servable, Servables
from infra.kafka import (
    ANSWER_SECONDS,
    TRANSACTION_TIMEOUT_MS,
    consumer,
    error_of,
    last_source_offsets,
    raise_error,
    transactional_producer,
)
from infra.settings import Settings

_log = structlog.get_logger(__name__)
_ORIGIN: Final = "/millrace/inference"
GROUP: Final = "millrace.inference"
#: Windows in a micro-batch, at most.
MOST_WINDOWS: Final = 512
#: How long the group waits for a replica that is silent, milliseconds.
SESSION_TIMEOUT_MS: Final = 15_000
#: How long an idle consumer waits before it looks around, seconds.
IDLE_SECONDS: Final = 0.25
#: How long a micro-batch waits for a version that is not loaded yet, seconds.
LOAD_SECONDS: Final = 20.0

_unpack = msgspec.msgpack.Decoder(NormalizedWindow).decode


def replica_name(settings: Settings) -> str:
    """Name of this replica, by which its `ready` is known; also its Kafka client id."""
    return f"inference-{settings.replica}"


class InferenceConsumer:
    """Turns stamped windows into predictions until it is told to stop."""

    def __init__(self, settings: Settings, servables: Servables, loader: Loader) -> None:
        """Connect, fencing an earlier life of this replica."""
        self._settings = settings
        self._servables = servables
        self._loader = loader
        name = replica_name(settings)
        self._producer: Producer = transactional_producer(settings, f"millrace.{name}")
        self._consumer: Consumer = consumer(
            settings,
            GROUP,
            {
                "client.id": name,
                # Killed and started again, a replica takes its own place in the group at once;
                # under a new name it would wait until the group has missed the old one.
                "group.instance.id": name,
                "session.timeout.ms": SESSION_TIMEOUT_MS,
            },
        )
        self._owned: set[int] = set()
        self._answered: dict[int, int] = {}
        self._consumer.subscribe(
            [settings.named(NORMALIZED.name)],
            on_assign=self._on_assign,
            on_revoke=self._on_revoke,
            on_lost=self._on_revoke,
        )

    def run_once(self) -> None:
        """Work off what is there, or wait for it for a moment."""
        first = self._consumer.poll(IDLE_SECONDS)
        if first is None:
            return
        messages = [first, *self._consumer.consume(MOST_WINDOWS - 1, timeout=0)]
        for message in messages:
            raise_error(message)
        # A rebalance may come between the two calls: what was fetched before belongs to the
        # partition's new owner.
        records = [m for m in messages if m.error() is None and m.partition() in self._owned]
        if records:
            self._answer(records)

    def close(self) -> None:
        """Leave the group."""
        self._consumer.close()

    def _answer(self, records: list[Message]) -> None:
        """Predict a micro-batch and commit it."""
        windows, refused = self._decode(records)
        predictions, failed = self._predict(windows)
        refused += failed
        self._producer.begin_transaction()
        try:
            for prediction in predictions:
                self._write(prediction)
            for key, value, partition, headers in refused:
                self._producer.produce(
                    self._settings.named(DEAD_LETTERS.name),
                    key=key,
                    value=value,
                    headers=headers,
                    partition=partition,
                )
            self._producer.send_offsets_to_transaction(
                _next_offsets(records), self._consumer.consumer_group_metadata(), ANSWER_SECONDS
            )
            self._commit()
        except KafkaException as error:
            self._undo(error)
            return
        for prediction in predictions:
            source = prediction.source
            self._answered[source.partition] = source.offset
            PREDICTED.labels(prediction.model, str(prediction.version)).inc()
            LATENCY.observe(prediction.latency_ms / 1000)
        BATCH.observe(len(records))

    def _commit(self) -> None:
        """Commit; asking again is right while the broker says so."""
        while True:
            try:
                self._producer.commit_transaction(TRANSACTION_TIMEOUT_MS / 1000)
            except KafkaException as error:
                if not error_of(error).retriable():
                    raise
            else:
                return

    def _undo(self, error: KafkaException) -> None:
        """Abort, and read the same windows again.

        Raises:
            KafkaException: This producer is of no use any more (fenced, or its transaction
                timed out): the process ends, and starts anew under the same name.
        """
        if not error_of(error).txn_requires_abort():
            raise error
        _log.warning("micro-batch aborted", why=str(error))
        self._producer.abort_transaction(ANSWER_SECONDS)
        for place in self._consumer.committed(self._consumer.assignment(), ANSWER_SECONDS):
            self._consumer.seek(TopicPartition(place.topic, place.partition, max(place.offset, 0)))

    def _decode(self, records: list[Message]) -> tuple[list[NormalizedWindow], list[_DeadLetter]]:
        """Decode windows, without those that have been answered."""
        windows: list[NormalizedWindow] = []
        refused: list[_DeadLetter] = []
        seen = dict(self._answered)
        for record in records:
            partition = record.partition() or 0
            try:
                window = _unpack(record.value() or b"")
            except msgspec.DecodeError as error:
                problem = InvalidRecord("undecodable", f"not a normalised window: {error}")
                refused.append(_dead_letter(record, problem))
                continue
            if window.source.offset <= seen.get(partition, -1):
                REPEATED.inc()
                continue
            seen[partition] = window.source.offset
            windows.append(window)
        return windows, refused

    def _predict(
        self, windows: list[NormalizedWindow]
    ) -> tuple[list[Prediction], list[_DeadLetter]]:
        """Run windows on the versions that they are stamped with, in their order."""
        made: dict[int, Prediction] = {}
        for stamp, group in by_stamp(windows).items():
            servable, units = self._servable(stamp)
            for window, prediction in zip(
                group, predict(servable, group, units, now()), strict=True
            ):
                if prediction is not None:
                    made[id(window)] = prediction
        predictions = [made[id(window)] for window in windows if id(window) in made]
        failed = [_not_finite(window) for window in windows if id(window) not in made]
        return predictions, failed

    def _servable(self, stamp: Stamp) -> tuple[Servable, Normaliser | None]:
        """Find what runs a stamp, and the windows' units if they are another version's.

        A stamped version that cannot be loaded, or not now because the object store is away,
        stops nothing: the loader has said so, and the last good version answers in its stead.
        """
        servable = self._servables.find(stamp.model, stamp.version, LOAD_SECONDS)
        if servable is not None:
            return servable, None
        FALLBACKS.labels(stamp.model).inc()
        return self._loader.fallback(stamp.model, stamp.version)

    def _write(self, prediction: Prediction) -> None:
        headers = cloud_event(prediction.id, PREDICTION, _ORIGIN, JSON, prediction.predicted_at)
        headers.append((SOURCE_OFFSET, str(prediction.source.offset).encode()))
        self._producer.produce(
            self._settings.named(PREDICTIONS.name),
            key=prediction.asset,
            value=encode(prediction),
            headers=list(headers),
            partition=prediction.source.partition,
        )

    def _on_assign(self, _: Consumer, places: list[TopicPartition]) -> None:
        """Learn from the predictions themselves how far each partition has been answered."""
        partitions = [place.partition for place in places]
        answered = last_source_offsets(self._settings, PREDICTIONS, partitions, SOURCE_OFFSET)
        self._answered.update(answered)
        self._owned.update(partitions)
        _log.info("partitions taken", answered=answered, partitions=partitions)

    def _on_revoke(self, _: Consumer, places: list[TopicPartition]) -> None:
        """Nothing is in flight between micro-batches; only forget."""
        for place in places:
            self._owned.discard(place.partition)
            self._answered.pop(place.partition, None)


_DeadLetter = tuple[bytes | None, bytes, int, list[tuple[str, str | bytes]]]


def _next_offsets(records: list[Message]) -> list[TopicPartition]:
    """Offsets after the records, one per partition."""
    after: dict[tuple[str, int], int] = {}
    for record in records:
        topic, partition, offset = record.topic(), record.partition(), record.offset()
        if topic is not None and partition is not None and offset is not None:
            after[topic, partition] = max(offset + 1, after.get((topic, partition), 0))
    return [TopicPartition(t, p, offset) for (t, p), offset in after.items()]


def _dead_letter(record: Message, problem: InvalidRecord) -> _DeadLetter:
    key, value, partition = record.key(), record.value(), record.partition() or 0
    headers = dead_letter_headers(
        [],
        problem,
        topic=NORMALIZED.name,
        partition=partition,
        offset=record.offset() or 0,
        timestamp_ms=record.timestamp()[1],
    )
    return _bytes(key), _bytes(value) or b"", partition, list(headers)


def _not_finite(window: NormalizedWindow) -> _DeadLetter:
    """A window whose forecast is no number."""
    source = window.source
    problem = InvalidRecord(
        "forecast_not_finite", f"version {window.version} made no finite forecast of it"
    )
    headers = dead_letter_headers(
        [],
        problem,
        topic=source.topic,
        partition=source.partition,
        offset=source.offset,
        timestamp_ms=source.timestamp_ms,
    )
    return (
        window.asset.encode(),
        msgspec.msgpack.encode(window),
        source.partition,
        list(headers),
    )


def _bytes(data: str | bytes | None) -> bytes | None:
    return data.encode() if isinstance(data, str) else data
