"""What tests of spools have in common: records, reading, and a full disk."""

from __future__ import annotations

import resource
from collections.abc import Iterator
from contextlib import contextmanager

from millrace.producers.delivery.spool import Spool
from millrace.producers.record import Record


def some(first: int, count: int, size: int = 10) -> list[Record]:
    """Records that say their number."""
    return [
        Record(
            b"pump" if number % 3 else None,
            number.to_bytes(8, "big") + bytes(size),
            [("ce_id", str(number).encode()), ("odd", b"\xff")],
            number,
        )
        for number in range(first, first + count)
    ]


def all_of(spool: Spool) -> list[tuple[int, Record]]:
    """Everything that waits, read in small pieces."""
    found: list[tuple[int, Record]] = []
    while piece := spool.read(found[-1][0] if found else spool.confirmed, 7, 60):
        found += piece
    return found


@contextmanager
def no_file_beyond(size: int) -> Iterator[None]:
    """Let the operating system refuse to let any file of ours grow beyond a size."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
