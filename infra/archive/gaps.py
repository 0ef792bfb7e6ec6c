"""Gaps in a partition's archive, with reasons: records that could not be read or stored.

```
archive/<topic>/partition=<p>/_gaps.json
```

A gap is noted before the records after it are stored, and before records are removed. So a
position that was archived, and has no record now, is either in a gap or lost.
"""

from __future__ import annotations

from collections.abc import Iterable
from threading import Lock
from typing import Final

import msgspec

from millrace.contracts.errors import DataError
from millrace.infra.archive.objects import DamagedObjectError
from millrace.infra.archive.side_files import (
    GAPS,
    read_side_file,
    rename_side_file,
    side_key,
    write_side_file,
)
from millrace.infra.object_store import MissingObjectError, ObjectStore

#: A record batch that cannot be decompressed, or only to more than `MAX_BATCH_BYTES`.
BATCH: Final = "batch"
#: A record that is larger than `MAX_BATCH_BYTES`.
RECORD: Final = "record"
#: A record with a header whose name is not UTF-8: it is archived without its headers.
HEADERS: Final = "headers"
#: Records that expired before they were read.
EXPIRED: Final = "expired"
#: Records that the archive's own retention removed; one gap, from position 0.
RETENTION: Final = "retention"
#: The archiver's two threads both note gaps.
_LOCK: Final = Lock()


class RemovedRecordsError(DataError):
    """Records were removed from the archive by its retention."""


class Gap(msgspec.Struct, frozen=True, array_like=True):
    """Positions of which the archive has no record, or only an incomplete one.

    Attributes:
        first: First position.
        until: Position after the last one.
        why: `BATCH`, `RECORD`, `HEADERS`, `EXPIRED` or `RETENTION`.
    """

    first: int
    until: int
    why: str


class Gaps(msgspec.Struct, frozen=True):
    """The gaps of a partition, by position."""

    gaps: tuple[Gap, ...] = ()
    v: int = 1


def gaps_key(topic: str, partition: int) -> str:
    """Object key of a partition's gaps."""
    return side_key(topic, partition, GAPS)


def read_gaps(store: ObjectStore, topic: str, partition: int) -> tuple[Gap, ...]:
    """Read the gaps of a partition's archive.

    Raises:
        DamagedObjectError: The object is not one that this module writes.
        ServerError: The store does not answer.
    """
    try:
        return msgspec.json.decode(read_side_file(store, topic, partition, GAPS), type=Gaps).gaps
    except MissingObjectError:
        return ()
    except msgspec.DecodeError as error:
        raise DamagedObjectError(gaps_key(topic, partition), f"is damaged: {error}") from error


def note_gap(store: ObjectStore, topic: str, partition: int, gap: Gap) -> None:
    """Add a gap, unless it is already recorded; that of the retention grows.

    Raises:
        ServerError: The store does not answer.
    """
    with _LOCK:
        try:
            known = read_gaps(store, topic, partition)
        except DamagedObjectError:  # start a new list of gaps
            known = ()
        if gap in known or (gap.why == RETENTION and gap.until <= removed_until(known)):
            return
        kept = [one for one in known if not one.why == gap.why == RETENTION]
        noted = Gaps(tuple(sorted({*kept, gap}, key=lambda one: (one.first, one.until))))
        write_side_file(store, topic, partition, GAPS, msgspec.json.encode(noted))


def rename_gaps(store: ObjectStore, topic: str, partition: int) -> None:
    """Give the gaps of an earlier build their present name.

    Raises:
        ServerError: The store does not answer.
    """
    with _LOCK:
        rename_side_file(store, topic, partition, GAPS)


def removed_until(gaps: Iterable[Gap]) -> int:
    """Position before which records were removed by the archive's retention; 0 for none.

    >>> removed_until([Gap(0, 40, RETENTION), Gap(50, 51, BATCH)])
    40
    """
    return max((gap.until for gap in gaps if gap.why == RETENTION), default=0)
