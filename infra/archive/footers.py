"""Reads the footers of archived objects: how many records they have, and from when to when."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from multiprocessing.pool import ThreadPool
from typing import Final

from millrace.infra.archive.objects import ArchivedObject, DamagedObjectError
from millrace.infra.archive.parquet import Footer, footer_in
from millrace.infra.object_store import ObjectStore, StoredObject

#: Bytes in which a footer usually fits.
_END_BYTES: Final = 1 << 16
_READERS: Final = 8


def read_footers(
    store: ObjectStore, items: Iterable[tuple[ArchivedObject, int]]
) -> Iterator[tuple[ArchivedObject, int, Footer]]:
    """Read the footers of objects, given with their sizes, in order; several at a time.

    Raises:
        DamagedObjectError: An object is not a Parquet file of the archive.
        ServerError: The store does not answer.
    """
    with ThreadPool(_READERS) as pool:
        yield from pool.imap(lambda each: (*each, _read(store, *each)), items)


def _read(store: ObjectStore, item: ArchivedObject, size: int) -> Footer:
    found = footer_in(store.end_of(StoredObject(item.key, size), _END_BYTES))
    if found is None:  # a longer footer, or a damaged object
        found = footer_in(store.get(item.key))
    if found is None:
        raise DamagedObjectError(item.key, "is no Parquet file with statistics of its timestamps")
    return found
