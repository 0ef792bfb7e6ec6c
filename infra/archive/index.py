"""The index of a partition's archive: its merged objects, and the objects that they replaced.

```
archive/<topic>/partition=<p>/_index.json
```

The index lists every object that holds records before its `end`; objects from there on are
found by listing the keys after it. It is a summary: if it is missing, damaged, or contradicts
the store, all objects are listed and it is rebuilt (`infra.archive.catalogue`). Objects that
were merged, or are older than the archive's retention, are *retired*: not read any more, and
deleted after a delay, so that a reader that has listed them has time to finish.
"""

import datetime as dt
from bisect import bisect_right
from collections.abc import Iterable, Sequence
from typing import Final

import msgspec

from millrace.infra.archive.objects import ArchivedObject
from millrace.infra.archive.side_files import INDEX, side_key

#: Level of an object that cannot be read, and so is never merged.
UNREADABLE: Final = -1


class Entry(msgspec.Struct, frozen=True, array_like=True):
    """An object of the archive in its index.

    Attributes:
        first: First offset in it.
        last: Last offset in it.
        bytes: Its size.
        level: How often its records were merged; 0 for an unmerged object, `UNREADABLE` for one
            that is never merged.
        date: Date of its records; None for an object of an earlier build.
    """

    first: int
    last: int
    bytes: int
    level: int = 0
    date: dt.date | None = None


class Retired(msgspec.Struct, frozen=True, array_like=True):
    """An object whose records are in a merged one, or are older than the archive's retention.

    Attributes:
        first: First offset in it.
        last: Last offset in it.
        since: When it was retired, seconds since 1970.
        date: Date of its records; None for an object of an earlier build.
    """

    first: int
    last: int
    since: float
    date: dt.date | None = None


class Index(msgspec.Struct, frozen=True):
    """The index of one partition.

    Attributes:
        entries: Its objects, by offset; none is covered by another.
        retired: Objects to be deleted.
        removed: Offset before which the archive's retention has retired all objects.
        v: 2; an index of version 1 has objects without a date.
    """

    entries: tuple[Entry, ...] = ()
    retired: tuple[Retired, ...] = ()
    removed: int = 0
    v: int = 2

    @property
    def end(self) -> int:
        """Offset from which objects are found by listing; 0 if the index is empty."""
        return max(self.removed, self.entries[-1].last + 1 if self.entries else 0)

    @property
    def date(self) -> dt.date | None:
        """Date from which objects are found by listing; None if all dates have to be listed."""
        return self.entries[-1].date if self.entries else None

    def encode(self) -> bytes:
        """Encode as JSON."""
        return msgspec.json.encode(self)


def decode_index(data: bytes) -> Index | None:
    """Decode an index; None if it is damaged, in which case all objects are listed."""
    try:
        found = msgspec.json.decode(data, type=Index)
    except msgspec.DecodeError:
        return None
    return found if list(found.entries) == uncovered(found.entries) else None


def index_key(topic: str, partition: int) -> str:
    """Object key of a partition's index."""
    return side_key(topic, partition, INDEX)


def uncovered(entries: Iterable[Entry]) -> list[Entry]:
    """Order objects by offset and leave out each object that another one covers.

    A crash between writing a merged object and its index leaves both the merged object and its
    parts. The merged object has all of their records.

    >>> uncovered([Entry(0, 4, 9), Entry(5, 9, 9), Entry(0, 9, 17)])
    [Entry(first=0, last=9, bytes=17, level=0, date=None)]
    """
    found: list[Entry] = []
    for one in sorted(entries, key=lambda entry: (entry.first, -entry.last)):
        if not found or one.last > found[-1].last:
            found.append(one)
    return found


def named(topic: str, partition: int, entries: Iterable[Entry | Retired]) -> list[ArchivedObject]:
    """Name the objects of entries."""
    return [ArchivedObject(topic, partition, one.first, one.last, one.date) for one in entries]


def due(retired: Sequence[Retired], now: float, seconds: float) -> list[Retired]:
    """Select the objects that were retired long enough ago to be deleted."""
    return [one for one in retired if now - one.since >= seconds]


def deletable(entries: Sequence[Entry], removed: int, retired: Iterable[Retired]) -> list[Retired]:
    """Select retired objects that may be deleted, whatever the index names.

    These are objects whose records are in another object, or that the archive's retention removes.

    Args:
        entries: A partition's objects, by offset, as `uncovered` orders them.
        removed: Offset before which the retention removes all objects.
        retired: Objects to be deleted.

    >>> merged, other, old = Retired(5, 9, 0.0), Retired(10, 14, 0.0), Retired(0, 2, 0.0)
    >>> deletable([Entry(4, 9, 17)], 4, [merged, other, old]) == [merged, old]
    True
    """
    firsts = [one.first for one in entries]

    def is_covered(one: Retired) -> bool:
        at = bisect_right(firsts, one.first) - 1
        return at >= 0 and one.last <= entries[at].last

    return [one for one in retired if one.last < removed or is_covered(one)]
