"""Side files of a partition's archive: its index and its gaps.

```
archive/<topic>/partition=<p>/_<name>.json
archive/<topic>/partition=<p>/<name>.json      by an earlier build: read, and renamed
```

Readers that take a whole folder (pandas, pyarrow, Spark) ignore names with a leading underscore.
"""

from __future__ import annotations

from typing import Final

from millrace.infra.archive.objects import prefix_of
from millrace.infra.object_store import MissingObjectError, ObjectStore

INDEX: Final = "index.json"
GAPS: Final = "gaps.json"


def side_key(topic: str, partition: int, name: str) -> str:
    """Object key of a side file."""
    return f"{prefix_of(topic, partition)}_{name}"


def read_side_file(store: ObjectStore, topic: str, partition: int, name: str) -> bytes:
    """Read a side file, under its present name or else under its former one.

    Raises:
        MissingObjectError: There is none.
        ServerError: The store does not answer.
    """
    try:
        return store.get(side_key(topic, partition, name))
    except MissingObjectError:
        return store.get(_former_key(topic, partition, name))


def write_side_file(store: ObjectStore, topic: str, partition: int, name: str, data: bytes) -> None:
    """Write a side file under its present name.

    Raises:
        ServerError: The store does not answer.
    """
    store.put(side_key(topic, partition, name), data, "application/json")


def rename_side_file(store: ObjectStore, topic: str, partition: int, name: str) -> None:
    """Give a side file of an earlier build its present name.

    After a crash between the two steps both names are there; the present one counts, and the next
    call removes the other.

    Raises:
        ServerError: The store does not answer.
    """
    former = _former_key(topic, partition, name)
    try:
        data = store.get(former)
    except MissingObjectError:
        return
    try:
        store.get(side_key(topic, partition, name))
    except MissingObjectError:
        write_side_file(store, topic, partition, name, data)
    store.remove([former])


def _former_key(topic: str, partition: int, name: str) -> str:
    return prefix_of(topic, partition) + name
