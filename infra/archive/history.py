"""Reads all records of a topic: from the archive, and from the topic where the archive ends.

    positions ─► archived objects that cover them ─► ... ─► archive's end ─► topic ─► until

Guarantee: each record of a range is read once, in order, whatever the archiver stores or merges
meanwhile: reading continues at the position after the last record that was read. Records that are
in neither of the two are listed in `TopicHistory.lost`.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator, Mapping, Sequence
from typing import Final, NamedTuple

import pyarrow as pa

from millrace.contracts.clock import event_time
from millrace.contracts.events.topic_epoch import Lineage, parts_of, position_of
from millrace.contracts.topics import Topic
from millrace.contracts.wire.groups import ARCHIVER
from millrace.infra.archive.catalogue import Catalogue
from millrace.infra.archive.footers import read_footers
from millrace.infra.archive.gaps import EXPIRED, Gap, read_gaps
from millrace.infra.archive.objects import ArchivedObject, Record
from millrace.infra.archive.parquet import decode_tables, records_in
from millrace.infra.archive.topic_log import TopicLog
from millrace.infra.object_store import MissingObjectError, ObjectStore
from millrace.infra.progress.committed import committed_offsets
from millrace.infra.settings import Settings
from millrace.infra.topics.epochs import TopicEpochs

#: By how much a producer's clock may be ahead of the archiver's.
_AHEAD: Final = dt.timedelta(days=1)
#: How often objects are listed again because the archiver has merged those that were listed.
_LISTINGS: Final = 5


class Bounds(NamedTuple):
    """Positions of a partition's records.

    Attributes:
        first: Position of the first record, archived or not.
        archived: Position from which records are read from the topic.
        end: Position after the last record.
    """

    first: int
    archived: int
    end: int


class Span(NamedTuple):
    """A range of positions, and what is known of it without reading it.

    Attributes:
        first: First position.
        until: Position after the last one.
        earliest: Position of the first record there is, whatever its time.
        records: Number of records, at most; Kafka's markers count where it is not archived.
        bytes: Size of the archived objects that hold them.
        objects: Number of these objects.
    """

    first: int
    until: int
    earliest: int
    records: int
    bytes: int
    objects: int


class TopicHistory:
    """The records of a topic, archived or not; owned by one thread."""

    def __init__(
        self, settings: Settings, store: ObjectStore, epochs: TopicEpochs, topic: Topic
    ) -> None:
        """Store the collaborators.

        Args:
            settings: Where Kafka is.
            store: The archive's store.
            epochs: The lineages of the topic's partitions.
            topic: The topic.
        """
        self._settings = settings
        self._store = store
        self._epochs = epochs
        self._topic = topic
        self._catalogue = Catalogue(store)
        self._log = TopicLog(settings, topic)

    @property
    def lost(self) -> Mapping[int, Sequence[Gap]]:
        """By partition: positions that were asked for and cannot be read, with the reasons."""
        return self._log.lost

    def partitions(self) -> list[int]:
        """List the topic's partitions.

        Raises:
            ServerError: No broker answers, or the topic does not exist.
        """
        return self._log.partitions()

    def bounds(self, partition: int) -> Bounds:
        """Find where a partition's records begin and end.

        Raises:
            ServerError: Broker or store do not answer.
        """
        items = self._catalogue.refresh(self._topic.name, partition)
        archived = items[-1].last + 1 if items else 0
        low, high = self._log.watermarks(partition)
        lineage = self._lineage(partition)
        end = max(archived, lineage.position(high - 1) + 1 if high > 0 else 0)
        first = items[0].first if items else lineage.position(low)
        return Bounds(first, archived, end)

    def span(self, partition: int, from_ms: int | None, until_ms: int | None) -> Span:
        """Find the positions between which all records of a time range are.

        Kafka's timestamps are set by producers, and need not ascend: records of other times may
        lie between the positions.

        Args:
            partition: The partition.
            from_ms: Smallest Kafka timestamp; None begins at the first record.
            until_ms: The timestamp after the largest one; None ends at the last record.

        Raises:
            DataError: An object cannot be read.
            ServerError: Broker or store do not answer.
        """
        bounds = self.bounds(partition)
        sizes = self._catalogue.sizes(self._topic.name, partition, bounds.first, bounds.archived)
        day = None if from_ms is None else event_time(from_ms).date() - _AHEAD
        within = [
            (item, size, footer.records)
            for item, size, footer in read_footers(
                self._store, [each for each in sizes if _may_be_since(each[0], day)]
            )
            if (from_ms is None or footer.newest_ms >= from_ms)
            and (until_ms is None or footer.oldest_ms < until_ms)
        ]
        first = within[0][0].first if within else bounds.end
        until = within[-1][0].last + 1 if within else bounds.end
        records = sum(count for _, _, count in within)
        if bounds.end > bounds.archived:  # not archived yet: the newest records
            begin = max(bounds.archived, bounds.first)
            first, until = min(first, begin), bounds.end
            records += parts_of(bounds.end)[1] - self._lineage(partition).start(
                *reversed(parts_of(begin))
            )
        size = sum(size for _, size, _ in within)
        return Span(first, until, bounds.first, records, size, len(within))

    def gaps(self, partition: int) -> list[Gap]:
        """List what the archive lacks and why, and what has expired before it was archived.

        Raises:
            ServerError: Broker or store do not answer.
        """
        found = list(read_gaps(self._store, self._topic.name, partition))
        low, _ = self._log.watermarks(partition)
        archived = self._catalogue.end(self._topic.name, partition)
        begin = self._lineage(partition).start(*reversed(parts_of(archived)))
        known = committed_offsets(self._settings, ARCHIVER, {self._topic: [partition]})
        committed = known[self._topic].get(partition)
        begin = max(begin, 0 if committed is None else committed.offset)
        if begin < low:  # the archiver passes transaction markers without an object
            lineage = self._lineage(partition)
            found.append(
                Gap(position_of(lineage.incarnation, begin), lineage.position(low), EXPIRED)
            )
        return found

    def tables(self, partition: int, first: int, until: int) -> Iterator[pa.Table]:
        """Read the records at positions [first, until).

        Args:
            partition: The partition.
            first: First position.
            until: Position after the last one.

        Yields:
            Tables of `infra.archive.parquet.SCHEMA`, by position; ``offset`` is the position.

        Raises:
            DataError: An object cannot be read.
            ServerError: Broker or store do not answer.
        """
        at = first
        for table in self._archived(partition, first, until):
            at = table.column("offset")[-1].as_py() + 1
            yield table
        end = self._catalogue.end(self._topic.name, partition)
        if end > max(at, first):  # archived since the objects were listed
            for table in self._archived(partition, at, until):
                at = table.column("offset")[-1].as_py() + 1
                yield table
        at = max(at, end)
        if at < until:
            yield from self._log.tables(partition, self._lineage(partition), at, until)

    def records(self, partition: int, first: int, until: int) -> Iterator[Record]:
        """Read the records at positions [first, until), one by one; see `tables`."""
        for table in self.tables(partition, first, until):
            yield from records_in(table)

    def all_records(self) -> Iterator[Record]:
        """Read all records of all partitions, one partition after the other."""
        for partition in self.partitions():
            bounds = self.bounds(partition)
            yield from self.records(partition, bounds.first, bounds.end)

    def close(self) -> None:
        """Close the client."""
        self._log.close()

    def _archived(self, partition: int, first: int, until: int) -> Iterator[pa.Table]:
        at, listings = first, 0
        while True:
            try:
                for item in self._catalogue.covering(self._topic.name, partition, at, until):
                    for table in decode_tables(self._store.get(item.key), item.key, at, until):
                        yield table
                        at = table.column("offset")[-1].as_py() + 1
            except MissingObjectError:  # merged since it was listed
                listings += 1
                if listings > _LISTINGS:
                    raise
                self._catalogue = Catalogue(self._store)
            else:
                return

    def _lineage(self, partition: int) -> Lineage:
        return self._epochs.lineage(self._topic, partition)


def _may_be_since(item: ArchivedObject, day: dt.date | None) -> bool:
    """Whether an object may have records of a day or later: its date is that of its latest ones."""
    return day is None or item.date is None or item.date >= day
