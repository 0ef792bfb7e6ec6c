"""In-memory buffer of one partition's records, until they are stored as an object."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import groupby

from millrace.archiver.settings import ArchiverSettings
from millrace.contracts.events.topic_epoch import parts_of
from millrace.infra.archive.objects import Record


class Buffer:
    """Records of one partition that are not stored yet."""

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
        self.bytes += _size(record)

    def full(self, settings: ArchiverSettings) -> bool:
        """Whether it has as many records or bytes as an object may have."""
        return len(self.records) >= settings.max_records or self.bytes >= settings.max_bytes

    def due(self, settings: ArchiverSettings, now: float, *, awaited: bool) -> bool:
        """Whether it should be written now: full, old enough, or awaited by a training run."""
        wait = settings.awaited_seconds if awaited else settings.max_seconds
        return bool(self.records) and (self.full(settings) or now - self.since >= wait)

    def drop(self, count: int) -> None:
        """Drop the first ``count`` records, which are stored."""
        self.records = self.records[count:]
        self.bytes = sum(_size(record) for record in self.records)

    def objects(self) -> Iterator[list[Record]]:
        """Cut the records into objects: none spans two incarnations of the partition.

        >>> buffer = Buffer()
        >>> for position in (7, 8, 1_000_000_000_009):
        ...     buffer.add(Record(position, 0, None, b"", []), now=0.0)
        >>> [[record.offset for record in part] for part in buffer.objects()]
        [[7, 8], [1000000000009]]
        """
        for _, records in groupby(self.records, lambda record: parts_of(record.offset)[0]):
            yield list(records)


def _size(record: Record) -> int:
    """Bytes of a record, its headers included."""
    pairs = sum(len(name) + len(value) for name, value in record.headers)
    return len(record.key or b"") + len(record.value or b"") + pairs
