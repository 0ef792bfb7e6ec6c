"""Outputs of an earlier stream processor, read from the broker.

The ledger holds the fences; the outputs show how far each partition was processed, which records
were refused and which retries were accepted. So no separate progress store is needed.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Protocol

from millrace.contracts.events.dead_letter import Origin, first_origin
from millrace.contracts.events.ledger import LedgerEntry
from millrace.contracts.events.mended import Resolution
from millrace.contracts.headers import SOURCE_OFFSET, RawHeaders, header
from millrace.contracts.topics import DEAD_LETTERS, MENDED, SENSOR_WINDOWS, SERVING_LEDGER
from millrace.contracts.wire.codec import EventReader
from millrace.infra.kafka.log_reader import read_all
from millrace.infra.progress.output_progress import source_offsets_since
from millrace.infra.settings import Settings
from millrace.stream_processors.transport.lineages import Ends, Lineages


class History(Protocol):
    """Outputs of earlier processes."""

    def fences(self) -> Iterator[LedgerEntry]:
        """Read all fences of the ledger."""

    def ends(self, partition: int) -> Ends:
        """Return a partition's progress at the time of its assignment."""

    def refused_since(self, partition: int, first: int) -> set[int]:
        """Find the offsets, ``first`` or larger, that have a dead letter already."""

    def refused_first_since(self, partition: int, first: int) -> set[int]:
        """Find the first origins, ``first`` or larger, that have a dead letter already."""

    def mended(self, partition: int) -> Iterable[Resolution]:
        """Find the accepted retries of a partition, oldest first."""


class KafkaHistory:
    """The history as stored in Kafka."""

    def __init__(self, settings: Settings, lineages: Lineages) -> None:
        """Store the settings; connects later.

        Args:
            settings: Address of Kafka; each method opens its own connection.
            lineages: Progress of the assigned partitions.
        """
        self._settings = settings
        self._lineages = lineages
        self._read = EventReader[LedgerEntry](LedgerEntry)

    def fences(self) -> Iterator[LedgerEntry]:
        """Read the ledger from its beginning."""
        for message in read_all(self._settings, SERVING_LEDGER):
            value = message.value()
            if value is not None:
                yield self._read(value)

    def ends(self, partition: int) -> Ends:
        """Return the progress that was read when the partition was assigned."""
        return self._lineages.ends(partition)

    def refused_since(self, partition: int, first: int) -> set[int]:
        """Read the dead letters backwards from the newest."""
        return source_offsets_since(self._settings, DEAD_LETTERS, partition, first)

    def refused_first_since(self, partition: int, first: int) -> set[int]:
        """Read the letters backwards from the newest, without those of refused retries."""

        def is_first(headers: RawHeaders) -> bool:
            offset = int(header(headers, SOURCE_OFFSET) or -1)
            source = Origin(SENSOR_WINDOWS.name, partition, offset)
            return first_origin(headers, source) == source

        return source_offsets_since(self._settings, DEAD_LETTERS, partition, first, is_first)

    def mended(self, partition: int) -> list[Resolution]:
        """Read the resolutions from the beginning of their topic."""
        read = EventReader[Resolution](Resolution)
        notes = (
            read.valid(message.value())
            for message in read_all(self._settings, MENDED)
            if message.partition() == partition
        )
        return [note for note in notes if note is not None]
