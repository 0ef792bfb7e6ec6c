"""Results as records of a Kafka topic, in transactions.

A batch and the position after it are committed in one transaction, the position as the offset of
the replay's own consumer group on `sensor.windows`. So Kafka's tools show a replay's progress as
that group's lag, and a `read_committed` consumer sees each result once.

The numbers of records up to a position are an object of the store: librdkafka does not read the
metadata of a committed offset reliably. The object is written before the transaction, and has the
numbers of the batch before as well, so it has those of the committed position in any case.

    replays/<id>/partition=<p>.json
"""

from __future__ import annotations

from typing import Any, Final

import msgspec
from confluent_kafka import KafkaException, Message, Producer, TopicPartition

from millrace.contracts.clock import now
from millrace.contracts.errors import DataError, MillraceError, ServerError, SettingsError
from millrace.contracts.events.event import JSON
from millrace.contracts.headers import header
from millrace.contracts.topics import DAY_MS, MAX_RECORD_BYTES, SENSOR_WINDOWS, TOPICS, Topic
from millrace.infra.kafka.clients import (
    ANSWER_SECONDS,
    TRANSACTION_RETRY_MS,
    TRANSACTION_TIMEOUT_MS,
    admin,
    partitions_of,
    producer,
    reader,
    watermarks,
)
from millrace.infra.kafka.errors import error_of, is_fenced, is_transient
from millrace.infra.kafka.log_reader import read_ranges
from millrace.infra.kafka.message_headers import message_headers
from millrace.infra.object_store import MissingObjectError, ObjectStore
from millrace.infra.settings import Settings
from millrace.infra.topics.admin import create_topics
from millrace.replay.results import REPLAY, records_of_runs
from millrace.replay.sinks.sink import Batch, Tally, Written

_POLL_SECONDS: Final = 1.0


class FencedError(MillraceError):
    """Another process has taken this replay over."""


class TopicSink:
    """A `Sink` of a topic; owned by one thread."""

    def __init__(self, settings: Settings, name: str, replay: str) -> None:
        """Create the topic if it is missing.

        Args:
            settings: Where Kafka is.
            name: The topic, before the namespace.
            replay: Id of the replay.

        Raises:
            SettingsError: It is a topic of the running system, or has too few partitions.
            ServerError: The broker does not answer, or refuses.
        """
        if name in {topic.name for topic in TOPICS} or name.startswith("__"):
            raise SettingsError(
                f"{name} is a topic of the running system; choose a topic of its own for a replay"
            )
        self._settings = settings
        self._topic = Topic(
            name, "asset", "predictions of a replay", JSON, 7 * DAY_MS, max_bytes=MAX_RECORD_BYTES
        )
        self._name = settings.named(name)
        self._replay = replay
        self._source = settings.named(SENSOR_WINDOWS.name)
        self._store = ObjectStore(settings)
        self._producers: dict[int, Producer] = {}
        #: What is committed of each partition.
        self._last: dict[int, Written] = {}
        self._group = reader(settings, {"group.id": settings.named(f"millrace.{replay}")})
        self._create()

    def written(self, partition: int) -> Written:
        """See `Sink`."""
        try:
            self._open(partition)
            (committed,) = self._group.committed(
                [TopicPartition(self._source, partition)], ANSWER_SECONDS
            )
        except KafkaException as error:
            raise self._trouble(error) from error
        if committed.error is not None:
            raise self._trouble(KafkaException(committed.error))
        if committed.offset >= 0:
            known = self._tallies(partition)
            if committed.offset not in known:
                raise DataError(
                    f"{self._key(partition)} does not know position {committed.offset}, which group"
                    f" {self._settings.named(f'millrace.{self._replay}')} has committed; replay"
                    " into another topic"
                )
            self._last[partition] = Written(committed.offset, known[committed.offset])
            return self._last[partition]
        if self._has_results(partition):
            raise DataError(
                f"topic {self._name} has results of {self._replay} in partition {partition}, and"
                " its group's offsets have expired: how far it was is not known; replay into"
                " another topic"
            )
        return Written()

    def write(self, batch: Batch) -> None:
        """See `Sink`."""
        maker = self._producers[batch.partition]
        before = self._last.get(batch.partition, Written())
        pairs = ((before.until, before.tally), (batch.until, batch.tally))
        known = {at: tally for at, tally in pairs if at is not None}
        self._store.put(self._key(batch.partition), msgspec.json.encode(known), JSON)
        records = records_of_runs(batch.runs, self._name, self._replay, now())
        try:
            maker.begin_transaction()
            produce: Any = maker.produce
            for topic, key, value, headers, partition in records:
                while True:
                    try:
                        produce(topic, value, key, partition, headers=headers)
                    except BufferError:  # the client's queue is full: let it send
                        maker.poll(_POLL_SECONDS)
                    else:
                        break
            maker.send_offsets_to_transaction(
                [TopicPartition(self._source, batch.partition, batch.until)],
                self._group.consumer_group_metadata(),
                ANSWER_SECONDS,
            )
            maker.commit_transaction(ANSWER_SECONDS)
        except KafkaException as error:
            self._producers.pop(batch.partition).purge()
            raise self._trouble(error) from error
        self._last[batch.partition] = Written(batch.until, batch.tally)

    def finish(self) -> str:
        """See `Sink`."""
        return f"topic {self._name}"

    def _create(self) -> None:
        client = admin(self._settings)
        try:
            known = client.list_topics(timeout=ANSWER_SECONDS).topics
            if self._name not in known:
                create_topics(client, self._settings, [self._topic])
            have = len(partitions_of(client, self._name))
            need = len(partitions_of(client, self._source))
        except KafkaException as error:
            raise self._trouble(error) from error
        if have < need:
            raise SettingsError(
                f"topic {self._name} has {have} partitions, and {self._source} has {need}: results"
                " go to the partition of their window; create it with as many"
            )

    def _open(self, partition: int) -> None:
        """Make a partition's producer, which fences an earlier one."""
        if partition in self._producers:
            return
        maker = producer(
            self._settings,
            {
                "transactional.id": self._settings.named(f"millrace.{self._replay}.{partition}"),
                "transaction.timeout.ms": TRANSACTION_TIMEOUT_MS,
                "retry.backoff.ms": TRANSACTION_RETRY_MS,
            },
        )
        maker.init_transactions(ANSWER_SECONDS)
        self._producers[partition] = maker

    def _tallies(self, partition: int) -> dict[int, Tally]:
        """Numbers of records up to the last positions."""
        try:
            data = self._store.get(self._key(partition))
        except MissingObjectError:
            return {}
        return msgspec.json.decode(data, type=dict[int, Tally])

    def _key(self, partition: int) -> str:
        return f"replays/{self._replay}/partition={partition}.json"

    def _has_results(self, partition: int) -> bool:
        """Whether a partition has a record of this replay."""
        client = reader(self._settings)
        try:
            span = watermarks(client, TopicPartition(self._name, partition))
            return any(map(self._is_ours, read_ranges(client, self._name, {partition: span})))
        except KafkaException as error:
            raise self._trouble(error) from error
        finally:
            client.close()

    def _is_ours(self, message: Message) -> bool:
        return header(message_headers(message), REPLAY) == self._replay

    def _trouble(self, error: KafkaException) -> MillraceError:
        why = error_of(error)
        if is_fenced(why):
            return FencedError(
                f"another process continues {self._replay}, and this one has ended its part"
            )
        hint = "" if is_transient(why) else "; look at the broker's log, and at its access rules"
        return ServerError(f"topic {self._name}: {error}{hint}")
