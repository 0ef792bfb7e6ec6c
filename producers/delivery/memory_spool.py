"""A spool in memory: its records are lost with the process.

>>> spool = MemorySpool()
>>> spool.append([Record(b"pump-1", b"first", [], 0), Record(b"pump-1", b"second", [], 0)])
>>> spool.confirm(1)
>>> spool.waiting, [record.value for _, record in spool.read(1, 10, 1000)]
(1, [b'second'])
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from itertools import islice
from typing import Final

from millrace.producers.delivery.spool import SpoolFullError
from millrace.producers.record import Record

#: Default largest size, bytes of values.
LIMIT_BYTES: Final = 64 << 20


class MemorySpool:
    """A queue of records; see `spool.Spool`."""

    is_durable = False
    place = "memory"
    position = None

    def __init__(self, limit_bytes: int = LIMIT_BYTES) -> None:
        """Create an empty spool.

        Args:
            limit_bytes: Bytes of values that it may hold; an empty one accepts any batch.
        """
        self.last = self.confirmed = self.size = 0
        self._limit = limit_bytes
        self._records: deque[Record] = deque()

    @property
    def waiting(self) -> int:
        """Records that are not confirmed."""
        return len(self._records)

    def append(self, records: Sequence[Record], position: bytes | None = None) -> None:  # noqa: ARG002
        """Add a batch; the place in the source is ignored, since it would be lost, too.

        Raises:
            SpoolFullError: No room.
        """
        size = sum(len(record.value) for record in records)
        if self._records and self.size + size > self._limit:
            raise SpoolFullError(
                f"{self.waiting:,} windows wait in memory, which has reached its limit of"
                f" {self._limit >> 20} MiB"
            )
        self._records.extend(records)
        self.size += size
        self.last += len(records)

    def read(self, after: int, count: int, most_bytes: int) -> list[tuple[int, Record]]:
        """Read records in order."""
        found: list[tuple[int, Record]] = []
        size = 0
        begin = after - self.confirmed
        for number, record in enumerate(islice(self._records, begin, begin + count), after + 1):
            found.append((number, record))
            size += len(record.value)
            if size >= most_bytes:
                break
        return found

    def confirm(self, through: int) -> None:
        """Drop every record up to a number."""
        for _ in range(through - self.confirmed):
            self.size -= len(self._records.popleft().value)
        self.confirmed = through
