"""Reads a topic's records from Kafka by positions: those that are not archived yet."""

from __future__ import annotations

import time
from collections.abc import Iterator
from functools import cached_property
from typing import Final

import pyarrow as pa
from confluent_kafka import Message, TopicPartition

from millrace.contracts.errors import ServerError
from millrace.contracts.events.topic_epoch import Lineage, parts_of, position_of
from millrace.contracts.topics import Topic
from millrace.infra.archive.gaps import BATCH, EXPIRED, HEADERS, Gap
from millrace.infra.archive.objects import Record
from millrace.infra.archive.parquet import table_of
from millrace.infra.kafka.batch_end import batch_end
from millrace.infra.kafka.clients import Reader, partitions_of, reader, watermarks
from millrace.infra.kafka.errors import is_partition_end, is_undecompressible, raise_error
from millrace.infra.kafka.message_headers import message_headers
from millrace.infra.kafka.place import Place
from millrace.infra.settings import Settings

#: Records that are fetched at once, and that make a table.
_BATCH: Final = 1000
_GATHER_SECONDS: Final = 0.02
#: How long no record may come, seconds: a transaction that is open holds back what follows it.
_SILENCE_SECONDS: Final = 30.0


class TopicLog:
    """The log of a topic; owned by one thread.

    Attributes:
        lost: By partition: positions that were asked for and cannot be read, with the reasons.
    """

    def __init__(self, settings: Settings, topic: Topic) -> None:
        """Store where it is; nothing is read yet."""
        self._settings = settings
        self._name = settings.named(topic.name)
        self.lost: dict[int, list[Gap]] = {}

    def watermarks(self, partition: int) -> tuple[int, int]:
        """Query the first Kafka offset of a partition, and the one after the last.

        Raises:
            ServerError: The broker does not answer.
        """
        return watermarks(self._client, TopicPartition(self._name, partition))

    def partitions(self) -> list[int]:
        """List the topic's partitions.

        Raises:
            ServerError: The broker does not answer, or the topic does not exist.
        """
        return partitions_of(self._client, self._name)

    def close(self) -> None:
        """Close the client that answers the questions, if there was one."""
        if "_client" in vars(self):
            self._client.close()

    @cached_property
    def _client(self) -> Reader:
        return reader(self._settings)

    def tables(
        self, partition: int, lineage: Lineage, first: int, until: int
    ) -> Iterator[pa.Table]:
        """Read the records at positions [first, until).

        Args:
            partition: The partition.
            lineage: Its incarnations.
            first: First position.
            until: Position after the last one.

        Yields:
            Tables of `infra.archive.parquet.SCHEMA`, by position.

        Raises:
            ServerError: The broker does not answer.
            KafkaException: It refuses.
        """
        incarnation, offset = parts_of(first)
        start = lineage.start(offset, incarnation)
        low, high = self.watermarks(partition)
        last, end = parts_of(until)
        if last != lineage.incarnation or end > high:
            self._lose(partition, Gap(first, until, EXPIRED))  # the topic was created anew
            return
        if start < low:
            self._lose(partition, Gap(first, min(lineage.position(low), until), EXPIRED))
        records: list[Record] = []
        for message in self._messages(partition, lineage, max(start, low), end):
            position = lineage.position(message.offset() or 0)
            if first <= position < until:
                records.append(self._record(message, partition, position))
            if len(records) == _BATCH:
                yield table_of(records)
                records = []
        if records:
            yield table_of(records)

    def _messages(
        self, partition: int, lineage: Lineage, start: int, end: int
    ) -> Iterator[Message]:
        """Read Kafka offsets [start, end); a batch that cannot be decompressed is skipped."""
        place = Place(self._name, partition)
        client = reader(self._settings, {"enable.partition.eof": True})
        try:
            client.assign([TopicPartition(*place, start)])
            at, heard = start, time.monotonic()
            while at < end:
                if time.monotonic() - heard > _SILENCE_SECONDS:
                    raise ServerError(f"no record of {place} arrives")
                for message in client.consume(_BATCH, timeout=_GATHER_SECONDS):
                    error, offset = message.error(), message.offset() or 0
                    heard = time.monotonic()
                    if error is not None and is_partition_end(error):
                        at = max(at, offset)
                    elif error is not None and is_undecompressible(error):
                        at = batch_end(self._settings, place, offset)
                        begin = position_of(lineage.incarnation, offset)
                        self._lose(partition, Gap(begin, begin + at - offset, BATCH))
                        client.seek(TopicPartition(*place, at))
                    else:
                        raise_error(message)
                        at = offset + 1
                        if offset < end:
                            yield message
        finally:
            client.close()

    def _record(self, message: Message, partition: int, position: int) -> Record:
        headers = message_headers(message)
        if headers is None:
            self._lose(partition, Gap(position, position + 1, HEADERS))
        return Record(
            position, message.timestamp()[1], message.key(), message.value(), headers or []
        )

    def _lose(self, partition: int, gap: Gap) -> None:
        self.lost.setdefault(partition, []).append(gap)
