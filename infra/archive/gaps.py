"""What the archive lacks of a partition, and why: records that could not be read or stored.

```
archive/<topic>/partition=<p>/gaps.json
```

A gap is noted before the records after it are stored, so what is not in the archive is in the
gaps, or had expired before it was read (`infra.progress.losses`).
"""

from __future__ import annotations

from typing import Final

import msgspec

from millrace.infra.archive.objects import prefix_of
from millrace.infra.object_store import MissingObjectError, ObjectStore

_NAME: Final = "gaps.json"
#: A record batch that is larger than `MAX_BATCH_BYTES` once decompressed, or cannot be.
BATCH: Final = "batch"
#: A record that is larger than `MAX_BATCH_BYTES`.
RECORD: Final = "record"
#: A record with a header whose name is no UTF-8: it is archived without its headers.
HEADERS: Final = "headers"


class Gap(msgspec.Struct, frozen=True, array_like=True):
    """Positions of which the archive has no record, or not the whole of it.

    Attributes:
        first: First position.
        until: Position after the last one.
        why: `BATCH`, `RECORD` or `HEADERS`.
    """

    first: int
    until: int
    why: str


class Gaps(msgspec.Struct, frozen=True):
    """The gaps of a partition, by position."""

    gaps: tuple[Gap, ...] = ()
    v: int = 1


def gaps_key(topic: str, partition: int) -> str:
    """Where a partition's gaps are."""
    return prefix_of(topic, partition) + _NAME


def read_gaps(store: ObjectStore, topic: str, partition: int) -> tuple[Gap, ...]:
    """Read what a partition's archive lacks.

    Raises:
        ServerError: The store does not answer.
        DecodeError: The object is not what this module writes.
    """
    try:
        data = store.get(gaps_key(topic, partition))
    except MissingObjectError:
        return ()
    return msgspec.json.decode(data, type=Gaps).gaps


def note_gap(store: ObjectStore, topic: str, partition: int, gap: Gap) -> None:
    """Add a gap; one that is known already is not added again.

    Raises:
        ServerError: The store does not answer.
    """
    try:
        known = read_gaps(store, topic, partition)
    except msgspec.DecodeError:  # damaged: what is found from here on is noted anew
        known = ()
    if gap not in known:
        noted = Gaps(tuple(sorted({*known, gap}, key=lambda one: (one.first, one.until))))
        store.put(gaps_key(topic, partition), msgspec.json.encode(noted), "application/json")
