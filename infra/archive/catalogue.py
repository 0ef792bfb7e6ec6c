"""Lists a partition's archived objects: from its index, and from a listing after the index's end.

Listing a whole partition takes one request per thousand objects. The index names the objects
before its end, so a listing begins there: at the date of its last object. A partition's dates are
listed in one request, since each is a folder.
"""

import datetime as dt
from collections.abc import Iterator
from itertools import islice
from typing import Final, NamedTuple

from millrace.infra.archive.index import Entry, Index, decode_index, named, uncovered
from millrace.infra.archive.objects import (
    ROOT,
    ArchivedObject,
    folder_of,
    parse_folder,
    parse_key,
    parse_prefix,
    prefix_of,
)
from millrace.infra.archive.side_files import INDEX, read_side_file
from millrace.infra.object_store import MissingObjectError, ObjectStore

#: Records before the topic's end at which the search for an archive's end starts, and the factor
#: by which that distance grows from one attempt to the next.
_NEAR: Final = 250
_FARTHER: Final = 32


class ArchiveEnd(NamedTuple):
    """Where a partition's archive ends.

    Attributes:
        position: Position after the last archived record; 0 if there is none.
        date: Date of the last object; None if it has none.
    """

    position: int = 0
    date: dt.date | None = None


class Catalogue:
    """The archive's objects, as index and store name them.

    Guarantee: the objects of a partition have each archived record once, except for an object
    that an archiver wrote after it had hung and was replaced (see `archiver`). Their names stay
    valid for `ArchiverSettings.retired_seconds` after they were listed.
    """

    def __init__(self, store: ObjectStore, *, whole: bool = False) -> None:
        """Create a catalogue; nothing is listed yet.

        Args:
            store: The archive's store.
            whole: Whether to list all objects and to ignore the indexes.
        """
        self._store = store
        self._whole = whole
        self._entries: dict[tuple[str, int], list[Entry]] = {}

    def entries(self, topic: str, partition: int) -> list[Entry]:
        """List a partition's objects: the first call lists all, later calls only new ones.

        Returns:
            All of them, by offset.

        Raises:
            ServerError: The store does not answer.
        """
        place = topic, partition
        if place in self._entries:
            known = self._entries[place]
            end = _end(known)
        else:
            index = Index() if self._whole else read_index(self._store, topic, partition) or Index()
            known, end = list(index.entries), ArchiveEnd(index.end, index.date)
        new = entries_from(self._store, topic, partition, end.position, end.date)
        self._entries[place] = uncovered([*known, *new])
        return self._entries[place]

    def refresh(self, topic: str, partition: int) -> list[ArchivedObject]:
        """List a partition's objects, see `entries`.

        Raises:
            ServerError: The store does not answer.
        """
        return named(topic, partition, self.entries(topic, partition))

    def covering(self, topic: str, partition: int, first: int, until: int) -> list[ArchivedObject]:
        """Return the listed objects that have records of a range.

        Args:
            topic: The topic.
            partition: Its partition.
            first: First offset of the range.
            until: Offset after its last one.

        Raises:
            ServerError: The store does not answer.
        """
        return [item for item, _ in self.sizes(topic, partition, first, until)]

    def sizes(
        self, topic: str, partition: int, first: int, until: int
    ) -> list[tuple[ArchivedObject, int]]:
        """Return the same objects, each with its size in bytes."""
        if (topic, partition) not in self._entries:
            self.entries(topic, partition)
        found = [e for e in self._entries[topic, partition] if e.first < until and e.last >= first]
        names = named(topic, partition, found)
        return [(item, entry.bytes) for item, entry in zip(names, found, strict=True)]

    def end(self, topic: str, partition: int) -> int:
        """Find the offset after the last archived record; 0 if there is none.

        Raises:
            ServerError: The store does not answer.
        """
        return _end(self.entries(topic, partition)).position


def archived_partitions(store: ObjectStore, topic: str) -> list[int]:
    """List the partitions of a topic of which something is archived.

    Raises:
        ServerError: The store does not answer.
    """
    found = (parse_prefix(one.key) for one in store.children(f"{ROOT}/{topic}/"))
    return sorted(partition for partition in found if partition is not None)


def read_index(store: ObjectStore, topic: str, partition: int) -> Index | None:
    """Read a partition's index; None if it is missing or damaged.

    Raises:
        ServerError: The store does not answer.
    """
    try:
        return decode_index(read_side_file(store, topic, partition, INDEX))
    except MissingObjectError:
        return None


def entries_from(
    store: ObjectStore,
    topic: str,
    partition: int,
    first: int,
    date: dt.date | None = None,
    most: int | None = None,
) -> list[Entry]:
    """List objects whose first offset is at or after a given one.

    Args:
        store: The archive's store.
        topic: The topic.
        partition: Its partition.
        first: The offset.
        date: Date before which no such object is; None if that is not known.
        most: Most objects to list; all when None.

    Raises:
        ServerError: The store does not answer.
    """
    return list(islice(_entries_from(store, topic, partition, first, date), most))


def _entries_from(
    store: ObjectStore, topic: str, partition: int, first: int, date: dt.date | None
) -> Iterator[Entry]:
    prefix = prefix_of(topic, partition)
    after = f"{prefix}{first:020d}" if date is None else _month_of(topic, partition, date)
    for one in store.children(prefix, after=after):
        found = parse_folder(one.key)
        if found is not None and (date is None or found >= date):
            yield from _entries_of(store, topic, partition, found, first)
        elif (item := parse_key(one.key)) is not None:
            yield Entry(item.first, item.last, one.bytes)


def _entries_of(
    store: ObjectStore, topic: str, partition: int, date: dt.date | None, first: int
) -> Iterator[Entry]:
    """List the objects of one date from an offset on."""
    folder = folder_of(topic, partition, date)
    for one in store.children(folder, after=f"{folder}{first:020d}"):
        item = parse_key(one.key)
        if item is not None:
            yield Entry(item.first, item.last, one.bytes, date=date)


def find_end(store: ObjectStore, topic: str, partition: int, near: int) -> ArchiveEnd:
    """Find where a partition's archive ends, without listing the archive.

    An archive ends in the folder of its last date, and close to its topic's end. So the listing
    begins in that folder a little before the topic's end, and farther before it if nothing is found
    there; never before the index's end.

    Args:
        store: The archive's store.
        topic: The topic.
        partition: Its partition.
        near: The topic's end.

    Raises:
        ServerError: The store does not answer.
    """
    index = read_index(store, topic, partition) or Index()
    for date in _dates_from(store, topic, partition, index.date)[::-1]:
        back = _NEAR
        while True:
            begin = max(index.end, near - back)
            found = _end(list(_entries_of(store, topic, partition, date, begin)))
            if found.position or begin == index.end:
                break
            back *= _FARTHER
        if found.position > index.end:
            return found
    return ArchiveEnd(index.end, index.date)


def _dates_from(
    store: ObjectStore, topic: str, partition: int, first: dt.date | None
) -> list[dt.date | None]:
    """List the dates of a partition from a given one on; objects without a date come first."""
    prefix = prefix_of(topic, partition)
    # Names of objects without a date are digits, and sort before the underscore.
    after = f"{prefix}_" if first is None else _month_of(topic, partition, first)
    found = (parse_folder(one.key) for one in store.children(prefix, after=after))
    dates = sorted(date for date in found if date is not None and (first is None or date >= first))
    return [None, *dates] if first is None else list(dates)


def _month_of(topic: str, partition: int, date: dt.date) -> str:
    """Key from which a listing has the folders of a date's month and of later ones."""
    return folder_of(topic, partition, date)[: -len("01/")]


def _end(entries: list[Entry]) -> ArchiveEnd:
    last = max(entries, key=lambda one: one.last, default=None)
    return ArchiveEnd() if last is None else ArchiveEnd(last.last + 1, last.date)
