"""In-memory buffer of one partition's records, until they are stored as objects of one date each.

The date is that of a record's Kafka timestamp (UTC), made monotone along the partition. A record
that comes late, as from an edge that was offline, gets the date of the record before it; so does
one without a timestamp; and no clock that is ahead moves a partition's date beyond the archiver's.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Iterator
from itertools import groupby
from typing import Final

from millrace.archiver.settings import ArchiverSettings
from millrace.contracts.events.topic_epoch import parts_of
from millrace.contracts.topics import DAY_MS
from millrace.infra.archive.objects import Record

#: Number of the day that Kafka's timestamps count from.
_EPOCH: Final = dt.date(1970, 1, 1).toordinal()


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

    def objects(
        self, before: dt.date | None, today: dt.date
    ) -> Iterator[tuple[dt.date, list[Record]]]:
        """Cut the records into objects: none spans two incarnations of the partition, or two dates.

        Args:
            before: Date of the object before; None if there is none, or it has none.
            today: The archiver's date, UTC.

        Yields:
            Date and records of each.

        >>> buffer = Buffer()
        >>> for position, day in ((7, 20_000), (8, 20_001), (9, 20_000), (1_000_000_000_000, 0)):
        ...     buffer.add(Record(position, day * DAY_MS, None, b"", []), now=0.0)
        >>> for date, records in buffer.objects(None, dt.date(2026, 1, 1)):
        ...     print(date, [record.offset for record in records])
        2024-10-04 [7]
        2024-10-05 [8, 9]
        2024-10-05 [1000000000000]
        """
        days = _days(self.records, before, today)
        dated = zip(days, self.records, strict=True)
        for (day, _), group in groupby(dated, lambda one: (one[0], parts_of(one[1].offset)[0])):
            yield dt.date.fromordinal(day), [record for _, record in group]


def _days(records: Iterable[Record], before: dt.date | None, today: dt.date) -> Iterator[int]:
    """Number the date of each record."""
    latest = today.toordinal()
    day = None if before is None else before.toordinal()
    for record in records:
        if record.timestamp_ms > 0:
            own = min(record.timestamp_ms // DAY_MS + _EPOCH, latest)
            day = own if day is None else max(day, own)
        elif day is None:
            day = latest
        yield day


def _size(record: Record) -> int:
    """Bytes of a record, its headers included."""
    pairs = sum(len(name) + len(value) for name, value in record.headers)
    return len(record.key or b"") + len(record.value or b"") + pairs
