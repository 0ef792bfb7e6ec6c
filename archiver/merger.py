"""Merges small objects of the archive into large ones and removes old ones, on a thread.

Guarantee: at any moment, and after a crash at any point, index and listing together name each
archived record once. A merged object is written before the index names it; the index is
written before anything is deleted; and an object to be deleted is listed in the index as retired
until it is deleted. So a crash leaves a merged object beside its parts (the parts are superseded,
and merged again), or retired objects, which the next round deletes.

Objects that are older than the retention are retired and deleted in the same way. That they are
removed is noted in the gaps before the index retires them, so whatever breaks off, a record that
is not there is known to have been removed.

Only the archiver that owns a partition merges it. An archiver that hung and resumes after another
took over finds that the index has changed since it read it, and leaves the index alone.
"""

import time
from collections.abc import Callable, Collection, Iterator, Sequence
from itertools import takewhile
from typing import Final

import msgspec
import structlog
from prometheus_client import Counter, Gauge

from millrace.archiver.merge_plan import plan, replaced
from millrace.archiver.retention import too_old
from millrace.archiver.settings import ArchiverSettings
from millrace.contracts.clock import event_time
from millrace.contracts.errors import DataError, ServerError
from millrace.contracts.topics import REMOVABLE
from millrace.infra.archive.catalogue import entries_from, read_index
from millrace.infra.archive.gaps import RETENTION, Gap, note_gap, rename_gaps
from millrace.infra.archive.index import (
    UNREADABLE,
    Entry,
    Index,
    Retired,
    deletable,
    due,
    named,
    uncovered,
)
from millrace.infra.archive.objects import ArchivedObject, DamagedObjectError
from millrace.infra.archive.parquet import CONTENT_TYPE, merge_objects
from millrace.infra.archive.side_files import INDEX, rename_side_file, write_side_file
from millrace.infra.object_store import AlteredObjectError, MissingObjectError, ObjectStore
from millrace.infra.process import fault_points
from millrace.infra.process.guard_thread import GuardThread

#: Objects that a round lists after the index; the next round lists further ones.
_LISTED: Final = 2_000
#: Merged objects that a round writes before it writes the index.
_GROUPS: Final = 16
_REMOVABLE: Final = frozenset(topic.name for topic in REMOVABLE)

Owned = Callable[[], Collection[tuple[str, int]]]

_log = structlog.get_logger(__name__)
_merged = Counter(
    "millrace_archiver_merged_total", "Objects that were merged into others", ["topic"]
)
_removed = Counter(
    "millrace_archiver_removed_total", "Merged or old objects that were deleted", ["topic"]
)
_outdated = Counter(
    "millrace_archiver_too_old_total", "Objects that were older than the retention", ["topic"]
)
_failed = Counter("millrace_archiver_merge_failures_total", "Rounds of merging that failed")
_stored = Gauge(
    "millrace_archiver_stored_objects",
    "Objects that a partition consists of",
    ["topic", "partition"],
)
_bytes = Gauge("millrace_archiver_stored_bytes", "Bytes that they have", ["topic", "partition"])


class Merger(GuardThread):
    """Merges the partitions that an archiver owns, and removes what is too old in them."""

    def __init__(self, store: ObjectStore, limits: ArchiverSettings, owned: Owned) -> None:
        """Prepare the thread.

        Args:
            store: The archive's store; a client that only this thread uses.
            limits: Sizes and intervals of merging.
            owned: Returns topics and partitions that are archived here; callable from any thread.
        """
        super().__init__("merger", limits.merge_seconds)
        self._store = store
        self._limits = limits
        self._owned = owned
        #: Unreadable objects, until the index marks them as damaged.
        self._damaged: set[ArchivedObject] = set()
        #: Partitions whose side files have their present names.
        self._renamed: set[tuple[str, int]] = set()

    def turn(self) -> None:
        """Run rounds in each partition until there is nothing left to merge."""
        for place in sorted(self._owned()):
            while not self.stopped and place in self._owned():
                began = time.monotonic()
                if not self._round(*place):
                    break
                # Sleep as long as a round took: the archiver shares the core and the store.
                self._stop.wait(time.monotonic() - began)

    def _round(self, topic: str, partition: int) -> bool:
        """Do a round of a partition; failures are retried in the next turn."""
        try:
            return self.round(topic, partition, time.time())
        except (ServerError, DataError) as error:
            _failed.inc()
            _log.warning("cannot merge now", topic=topic, partition=partition, why=str(error))
            return False

    def round(self, topic: str, partition: int, now: float) -> bool:
        """Merge some objects of a partition and delete some that were merged before.

        Args:
            topic: The topic.
            partition: Its partition.
            now: Seconds since 1970.

        Returns:
            Whether anything was done.

        Raises:
            DataError: An object that the index names is missing, or cannot be read.
            ServerError: The store does not answer.
        """
        self._rename(topic, partition)
        before = read_index(self._store, topic, partition)
        index = before or Index()
        tail = entries_from(self._store, topic, partition, index.end, index.date, _LISTED)
        listed = [self._known(topic, partition, one) for one in uncovered([*index.entries, *tail])]
        gone = self._too_old(topic, listed, now)
        entries = listed[len(gone) :]
        groups = plan(
            entries, most=self._limits.merge_objects, most_bytes=self._limits.merge_bytes
        )[:_GROUPS]
        _stored.labels(topic, partition).set(len(entries))
        _bytes.labels(topic, partition).set(sum(one.bytes for one in entries))
        try:
            merged = [self._merge(topic, partition, group) for group in groups]
        except MissingObjectError as error:
            if read_index(self._store, topic, partition) == before and index.entries:
                # A hung archiver wrote this index: from here on objects are listed instead.
                _log.warning("index made anew", topic=topic, partition=partition, why=str(error))
                self._write(topic, partition, Index(retired=index.retired, removed=index.removed))
            return False
        found = replaced(entries, merged)
        there = {*named(topic, partition, found), *named(topic, partition, index.retired)}
        retired = [
            Retired(one.first, one.last, now, one.date)
            for one in [*index.entries, *tail]
            if named(topic, partition, [one])[0] not in there
        ]
        old = due(index.retired, now, self._limits.retired_seconds)
        if not (groups or retired or old):
            return False
        fault_points.reached("archiver.between-merge-and-index")
        if read_index(self._store, topic, partition) != before:
            _log.warning("another archiver merges", topic=topic, partition=partition)
            return False
        removed = index.removed
        if gone:
            removed = gone[-1].last + 1
            note_gap(self._store, topic, partition, Gap(0, removed, RETENTION))
            fault_points.reached("archiver.between-gap-and-index")
        deleted = named(topic, partition, deletable(found, index.removed, old))
        self._store.remove(item.key for item in deleted)
        fault_points.reached("archiver.between-removal-and-index")
        kept = [one for one in index.retired if one not in old]
        indexed = tuple(takewhile(lambda one: one.level != 0, found))
        self._write(topic, partition, Index(indexed, (*kept, *retired), removed))
        _outdated.labels(topic).inc(len(gone))
        _merged.labels(topic).inc(sum(len(group) for group, _ in merged if len(group) > 1))
        _removed.labels(topic).inc(len(old))
        return True

    def _rename(self, topic: str, partition: int) -> None:
        """Give the side files of an earlier build their present names, once."""
        if (topic, partition) not in self._renamed:
            rename_side_file(self._store, topic, partition, INDEX)
            rename_gaps(self._store, topic, partition)
            self._renamed.add((topic, partition))

    def _too_old(self, topic: str, entries: Sequence[Entry], now: float) -> Sequence[Entry]:
        """Select the objects of a partition that are older than the retention."""
        days = self._limits.retention_days
        if not days or topic not in _REMOVABLE:
            return []
        return too_old(entries, event_time(int(now * 1000)).date(), days)

    def _known(self, topic: str, partition: int, one: Entry) -> Entry:
        """Mark an object that was found to be damaged."""
        is_damaged = named(topic, partition, [one])[0] in self._damaged
        return msgspec.structs.replace(one, level=UNREADABLE) if is_damaged else one

    def _merge(
        self, topic: str, partition: int, group: Sequence[Entry]
    ) -> tuple[Sequence[Entry], Entry]:
        """Write a group's records as one object.

        Returns:
            The objects that were replaced, and their replacement. For a group with a damaged
            object that is only the damaged one, which is not merged from now on.
        """
        first, level = group[0], max(one.level for one in group) + 1
        if len(group) == 1:
            return group, msgspec.structs.replace(first, level=level)
        item = ArchivedObject(topic, partition, first.first, group[-1].last, first.date)
        try:
            data = merge_objects(self._parts(topic, partition, group))
        except DamagedObjectError as error:
            _failed.inc()
            _log.error("damaged object left as it is", key=error.key, why=str(error))
            damaged = next(
                one for one in group if named(topic, partition, [one])[0].key == error.key
            )
            self._damaged.add(named(topic, partition, [damaged])[0])
            return [damaged], self._known(topic, partition, damaged)
        self._store.put(item.key, data, CONTENT_TYPE)
        return group, Entry(item.first, item.last, len(data), level, item.date)

    def _parts(
        self, topic: str, partition: int, group: Sequence[Entry]
    ) -> Iterator[tuple[str, bytes]]:
        for item in named(topic, partition, group):
            try:
                yield item.key, self._store.get(item.key)
            except AlteredObjectError as error:
                raise DamagedObjectError(item.key, "was altered in the store") from error

    def _write(self, topic: str, partition: int, index: Index) -> None:
        write_side_file(self._store, topic, partition, INDEX, index.encode())
