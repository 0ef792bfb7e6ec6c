"""Spooled records that are not produced yet: the next ones in memory, the rest in the spool.

>>> from millrace.producers.delivery.memory_spool import MemorySpool
>>> spool = MemorySpool()
>>> backlog = Backlog(spool)
>>> batch = [Record(b"pump-1", b"first", [], 0), Record(b"pump-1", b"second", [], 0)]
>>> spool.append(batch)
>>> backlog.spooled(batch, 11)
>>> len(backlog), backlog.next()[1].value
(2, b'first')
"""

from collections import deque
from collections.abc import Sequence
from typing import Final

from millrace.producers.delivery.spool import Spool
from millrace.producers.record import Record

#: Largest number of records, and bytes of their values, that are kept in memory.
MEMORY_RECORDS: Final = 2_000
_MEMORY_BYTES: Final = 16 << 20


class Backlog:
    """Records to produce, in order; starts with all unconfirmed records of a spool."""

    def __init__(self, spool: Spool) -> None:
        """Start after the last confirmed record."""
        self._spool = spool
        self._memory: deque[tuple[int, Record]] = deque()
        self._bytes = 0
        self._read = spool.confirmed

    def __len__(self) -> int:
        """Number of records to produce."""
        return len(self._memory) + self._spool.last - self._read

    def spooled(self, records: Sequence[Record], size: int) -> None:
        """Note a batch that was just appended; it stays in memory if no record precedes it.

        Args:
            records: The batch.
            size: Bytes of its values.
        """
        up_to_date = self._read + len(records) == self._spool.last
        if up_to_date and len(self._memory) < MEMORY_RECORDS and self._bytes < _MEMORY_BYTES:
            self._memory.extend(enumerate(records, self._read + 1))
            self._bytes += size
            self._read = self._spool.last

    def next(self) -> tuple[int, Record] | None:
        """The next record and its number, from memory or else from the disk; None if none.

        Raises:
            DataError: The spool is damaged.
        """
        if not self._memory and self._read < self._spool.last:
            self._memory.extend(self._spool.read(self._read, MEMORY_RECORDS, _MEMORY_BYTES))
            self._bytes = sum(len(record.value) for _, record in self._memory)
            self._read = self._memory[-1][0]
        return self._memory[0] if self._memory else None

    def produced(self) -> None:
        """Drop the next record, which was produced."""
        _, record = self._memory.popleft()
        self._bytes -= len(record.value)
