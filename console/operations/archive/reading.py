"""Reads a partition's records from the archive, one row group in memory at a time.

Objects may be merged while they are read: one that is gone is looked for again under its present
name, from the record on that is wanted next.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Iterator
from typing import Final, NamedTuple

from millrace.infra.archive.catalogue import Catalogue
from millrace.infra.archive.index import Entry, named
from millrace.infra.archive.objects import Record
from millrace.infra.archive.parquet import decode_records, footer_in
from millrace.infra.object_store import MissingObjectError, ObjectStore, StoredObject

#: Bytes at an object's end that have its statistics.
_FOOTER_BYTES: Final = 64 << 10
#: By how much a producer's clock may be ahead of the archiver's.
_AHEAD: Final = dt.timedelta(days=1)


class TimeSpan(NamedTuple):
    """A span of Kafka timestamps; a record without a timestamp is in no bounded span.

    Attributes:
        since: Its beginning; None for no bound.
        until: The moment after its end; None for no bound.
    """

    since: dt.datetime | None = None
    until: dt.datetime | None = None

    @property
    def is_bounded(self) -> bool:
        """Whether it has a bound."""
        return self.since is not None or self.until is not None

    def overlaps(self, first_ms: int, last_ms: int) -> bool:
        """Whether any moment from a first to a last one, in milliseconds, may be in it."""
        return (self.since is None or last_ms >= self.since.timestamp() * 1000) and (
            self.until is None or first_ms < self.until.timestamp() * 1000
        )

    def includes(self, record: Record) -> bool:
        """Whether a record is in it."""
        stamp = record.timestamp_ms
        return not self.is_bounded or (stamp > 0 and self.overlaps(stamp, stamp))


def read_records(
    store: ObjectStore,
    topic: str,
    partition: int,
    span: TimeSpan,
    progress: Callable[[int, int], None] = lambda *_: None,
) -> Iterator[Record]:
    """Read the records of a partition, by position.

    Args:
        store: The archive's store.
        topic: The topic.
        partition: Its partition.
        span: Leave out records that are not in it.
        progress: Receives the numbers of objects that are done, and of all.

    Raises:
        DataError: An object is missing, or cannot be read.
        ServerError: The store does not answer.
    """
    catalogue, position, failed_at = Catalogue(store), 0, -1
    while True:
        entries = catalogue.entries(topic, partition)
        try:
            for number, entry in enumerate(entries):
                progress(number, len(entries))
                (item,) = named(topic, partition, [entry])
                if entry.last < position or not _may_overlap(store, entry, item.key, span):
                    continue
                for record in decode_records(store.get(item.key), item.key, position):
                    position = record.offset + 1
                    if span.includes(record):
                        yield record
        except MissingObjectError:
            if failed_at == position:
                raise
            catalogue, failed_at = Catalogue(store, whole=True), position
        else:
            progress(len(entries), len(entries))
            return


def _may_overlap(store: ObjectStore, entry: Entry, key: str, span: TimeSpan) -> bool:
    """Whether an object may have records of a span.

    A record that came late lies in the folder of a later date than its own, so the statistics of
    later objects are fetched.
    """
    date = entry.date
    if span.since is not None and date is not None and date < (span.since - _AHEAD).date():
        return False
    is_within = date is not None and (span.until is None or date <= span.until.date())
    if not span.is_bounded or is_within:
        return True
    footer = footer_in(store.end_of(StoredObject(key, entry.bytes), _FOOTER_BYTES))
    return footer is None or span.overlaps(footer.oldest_ms, footer.newest_ms)
