"""Names of the archive's objects: topic, partition, date and positions.

```
archive/<topic>/partition=<p>/date=<YYYY-MM-DD>/<first>-<last>.parquet    positions, 20 digits
archive/<topic>/partition=<p>/<first>-<last>.parquet                      by an earlier build
```

Topic folders are Hive-partitioned, so any reader of Parquet sees partition and date as columns.
The date is that of the records' Kafka timestamps (UTC), and never decreases along a partition
(`archiver.buffer`), so folders in the order of their dates hold positions in ascending order, and
objects without a date come before all others.

Objects are written small, so that records reach training runs early, and are merged into larger
ones later (`archiver.merger`): an object whose positions another one covers is superseded by it.
"""

from __future__ import annotations

import datetime as dt
import re
from typing import Final, NamedTuple

from millrace.contracts.errors import DataError
from millrace.contracts.headers import RawHeaders

ROOT: Final = "archive"
_DATE: Final = "date="
_KEY: Final = re.compile(
    rf"{ROOT}/(?P<topic>[^/]+)/partition=(?P<partition>\d+)/(?:{_DATE}(?P<date>[0-9-]{{10}})/)?"
    r"(?P<first>\d{20})-(?P<last>\d{20})\.parquet"
)
_PREFIX: Final = re.compile(rf"{ROOT}/[^/]+/partition=(?P<partition>\d+)/")
_FOLDER: Final = re.compile(rf"{ROOT}/[^/]+/partition=\d+/{_DATE}(?P<date>[0-9-]{{10}})/")


class ArchivedObject(NamedTuple):
    """An object of the archive; orders by topic, partition and position.

    Attributes:
        topic: The topic, without the namespace.
        partition: Its partition.
        first: Position of its first record.
        last: Position of its last record.
        date: Date of its records; None for an object of an earlier build.
    """

    topic: str
    partition: int
    first: int
    last: int
    date: dt.date | None = None

    @property
    def key(self) -> str:
        """Its key in the object store."""
        folder = folder_of(self.topic, self.partition, self.date)
        return f"{folder}{self.first:020d}-{self.last:020d}.parquet"


class DamagedObjectError(DataError):
    """An object is not a Parquet file of the archive.

    Attributes:
        key: Its key.
    """

    def __init__(self, key: str, why: str) -> None:
        """Build the message from the object's key and the reason."""
        super().__init__(f"{key} {why}")
        self.key = key


class Record(NamedTuple):
    """A record as it was consumed; ``offset`` is its position.

    A record is archived unchanged (key, value, headers, timestamp), so that a replay produces the
    same bytes, and a change of our structures never makes the archive unreadable.
    """

    offset: int
    timestamp_ms: int
    key: bytes | None
    value: bytes | None
    headers: RawHeaders


def prefix_of(topic: str, partition: int) -> str:
    """Key prefix of everything that the archive has of a partition."""
    return f"{ROOT}/{topic}/partition={partition}/"


def folder_of(topic: str, partition: int, date: dt.date | None) -> str:
    """Key prefix of a partition's objects of a date.

    >>> folder_of("outcomes", 3, dt.date(2026, 12, 1))
    'archive/outcomes/partition=3/date=2026-12-01/'
    """
    prefix = prefix_of(topic, partition)
    return prefix if date is None else f"{prefix}{_DATE}{date}/"


def parse_key(key: str) -> ArchivedObject | None:
    """Parse an object key; None if it is not one of the archive's.

    >>> parse_key(ArchivedObject("outcomes", 3, 0, 41).key)
    ArchivedObject(topic='outcomes', partition=3, first=0, last=41, date=None)
    """
    found = _KEY.fullmatch(key)
    if found is None:
        return None
    date = _date(found["date"])
    if date is None and found["date"] is not None:
        return None
    place = found["topic"], int(found["partition"])
    return ArchivedObject(*place, int(found["first"]), int(found["last"]), date)


def parse_prefix(prefix: str) -> int | None:
    """Parse the key prefix of a partition; None if it is no such prefix.

    >>> parse_prefix(prefix_of("outcomes", 3))
    3
    """
    found = _PREFIX.fullmatch(prefix)
    return None if found is None else int(found["partition"])


def parse_folder(prefix: str) -> dt.date | None:
    """Parse the key prefix of a date's objects; None if it is no such prefix."""
    found = _FOLDER.fullmatch(prefix)
    return None if found is None else _date(found["date"])


def _date(text: str | None) -> dt.date | None:
    try:
        return None if text is None else dt.date.fromisoformat(text)
    except ValueError:
        return None
