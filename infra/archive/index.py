"""The index of a partition's archive: its merged objects, and the objects that they replaced.

```
archive/<topic>/partition=<p>/index.json
```

The index lists every object that holds records before its `end`; objects from there on are
found by listing the keys after it. It is a summary: if it is missing, damaged, or contradicts
the store, all objects are listed and it is rebuilt (`infra.archive.catalogue`). Objects that
were merged are *retired*: not read any more, and deleted after a delay, so that a reader that
has listed them has time to finish.
"""

from bisect import bisect_right
from collections.abc import Iterable, Sequence
from typing import Final

import msgspec

from millrace.infra.archive.objects import ArchivedObject, prefix_of

_NAME: Final = "index.json"
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
    """

    first: int
    last: int
    bytes: int
    level: int = 0


class Retired(msgspec.Struct, frozen=True, array_like=True):
    """An object whose records are in a merged one.

    Attributes:
        first: First offset in it.
        last: Last offset in it.
        since: When it was replaced, seconds since 1970.
    """

    first: int
    last: int
    since: float


class Index(msgspec.Struct, frozen=True):
    """The index of one partition.

    Attributes:
        entries: Its objects, by offset; none is covered by another.
        retired: Objects to be deleted.
    """

    entries: tuple[Entry, ...] = ()
    retired: tuple[Retired, ...] = ()
    v: int = 1

    @property
    def end(self) -> int:
        """Offset from which objects are found by listing; 0 if the index is empty."""
        return self.entries[-1].last + 1 if self.entries else 0

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
    return prefix_of(topic, partition) + _NAME


def uncovered(entries: Iterable[Entry]) -> list[Entry]:
    """Order objects by offset and leave out each object that another one covers.

    A crash between writing a merged object and its index leaves both the merged object and its
    parts. The merged object has all of their records.

    >>> uncovered([Entry(0, 4, 9), Entry(5, 9, 9), Entry(0, 9, 17)])
    [Entry(first=0, last=9, bytes=17, level=0)]
    """
    found: list[Entry] = []
    for one in sorted(entries, key=lambda entry: (entry.first, -entry.last)):
        if not found or one.last > found[-1].last:
            found.append(one)
    return found


def named(topic: str, partition: int, entries: Iterable[Entry | Retired]) -> list[ArchivedObject]:
    """Name the objects of entries."""
    return [ArchivedObject(topic, partition, one.first, one.last) for one in entries]


def due(retired: Sequence[Retired], now: float, seconds: float) -> list[Retired]:
    """Select the objects that were retired long enough ago to be deleted."""
    return [one for one in retired if now - one.since >= seconds]


def within(entries: Sequence[Entry], retired: Iterable[Retired]) -> list[Retired]:
    """Select retired objects within entries; only these may be deleted, whatever the index names.

    Args:
        entries: A partition's objects, by offset, as `uncovered` orders them.
        retired: Objects to be deleted.

    >>> within([Entry(0, 9, 17)], [Retired(5, 9, 0.0), Retired(10, 14, 0.0)])
    [Retired(first=5, last=9, since=0.0)]
    """
    firsts = [one.first for one in entries]

    def is_within(one: Retired) -> bool:
        at = bisect_right(firsts, one.first) - 1
        return at >= 0 and one.last <= entries[at].last

    return [one for one in retired if is_within(one)]
