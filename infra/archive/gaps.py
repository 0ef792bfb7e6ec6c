"""Gaps in a partition's archive, with reasons: records that could not be read or stored.

```
archive/<topic>/partition=<p>/gaps.json
```

A gap is noted before the records after it are stored, so a record that is not in the archive is
in a gap.
"""

from __future__ import annotations

from typing import Final

import msgspec

from millrace.infra.archive.objects import prefix_of
from millrace.infra.object_store import MissingObjectError, ObjectStore

_NAME: Final = "gaps.json"
#: A record batch that cannot be decompressed, or only to more than `MAX_BATCH_BYTES`.
BATCH: Final = "batch"
#: A record that is larger than `MAX_BATCH_BYTES`.
RECORD: Final = "record"
#: A record with a header whose name is not UTF-8: it is archived without its headers.
HEADERS: Final = "headers"
#: Records that expired before they were read.
EXPIRED: Final = "expired"


class Gap(msgspec.Struct, frozen=True, array_like=True):
    """Positions of which the archive has no record, or only an incomplete one.

    Attributes:
        first: First position.
        until: Position after the last one.
        why: `BATCH`, `RECORD`, `HEADERS` or `EXPIRED`.
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
    return prefix_of(topic, partition) + _NAME


def read_gaps(store: ObjectStore, topic: str, partition: int) -> tuple[Gap, ...]:
    """Read the gaps of a partition's archive.

    Raises:
        ServerError: The store does not answer.
        DecodeError: The object is not one that this module writes.
    """
    try:
        data = store.get(gaps_key(topic, partition))
    except MissingObjectError:
        return ()
    return msgspec.json.decode(data, type=Gaps).gaps


def note_gap(store: ObjectStore, topic: str, partition: int, gap: Gap) -> None:
    """Add a gap, unless it is already recorded.

    Raises:
        ServerError: The store does not answer.
    """
    try:
        known = read_gaps(store, topic, partition)
    except msgspec.DecodeError:  # damaged: start a new list of gaps
        known = ()
    if gap not in known:
        noted = Gaps(tuple(sorted({*known, gap}, key=lambda one: (one.first, one.until))))
        store.put(gaps_key(topic, partition), msgspec.json.encode(noted), "application/json")
