"""What an earlier life of the stream processor has left on the broker.

The ledger tells the fences that are set; the outputs themselves tell how far each partition
has been processed, what was refused and what was mended. So nothing has to be remembered
twice.
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
    """What was written before."""

    def fences(self) -> Iterator[LedgerEntry]:
        """Read the fences that are in the ledger."""

    def ends(self, partition: int) -> Ends:
        """Tell how far a partition was processed when it was taken over."""

    def refused_since(self, partition: int, first: int) -> set[int]:
        """Find the offsets, ``first`` or larger, that have a dead letter already."""

    def refused_first_since(self, partition: int, first: int) -> set[int]:
        """Find the first origins, ``first`` or larger, that have a dead letter already."""

    def mended(self, partition: int) -> Iterable[Resolution]:
        """Find the records of a partition that were sent again and taken, oldest first."""


class KafkaHistory:
    """The history as Kafka keeps it."""

    def __init__(self, settings: Settings, lineages: Lineages) -> None:
        """Ask nothing yet.

        Args:
            settings: Where Kafka is; each question connects by itself.
            lineages: Has taken the partitions over.
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
        """What was asked for when the partition was taken over."""
        return self._lineages.ends(partition)

    def refused_since(self, partition: int, first: int) -> set[int]:
        """Read the dead letters from their end."""
        return source_offsets_since(self._settings, DEAD_LETTERS, partition, first)

    def refused_first_since(self, partition: int, first: int) -> set[int]:
        """Read the letters from their end; not those of records that were sent again in vain."""

        def is_first(headers: RawHeaders) -> bool:
            offset = int(header(headers, SOURCE_OFFSET) or -1)
            source = Origin(SENSOR_WINDOWS.name, partition, offset)
            return first_origin(headers, source) == source

        return source_offsets_since(self._settings, DEAD_LETTERS, partition, first, is_first)

    def mended(self, partition: int) -> list[Resolution]:
        """Read the notes from their beginning."""
        read = EventReader[Resolution](Resolution)
        notes = (
            read.valid(message.value())
            for message in read_all(self._settings, MENDED)
            if message.partition() == partition
        )
        return [note for note in notes if note is not None]
