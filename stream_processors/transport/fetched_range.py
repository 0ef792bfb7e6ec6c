"""Range of offsets of a partition that were read, or will be, since the partition was assigned.

The consumer reports its position before each poll and the records after it, so the first offset
is known without a race against records in flight. The known high watermark may be stale, because
it is part of the last fetch response, and unread records may wait in memory. It proves that a
window is lost only if it was fetched at least `LATER_SECONDS` after the prediction arrived:

>>> readable = FetchedRange()
>>> readable.before_poll("windows", 5)
>>> readable.offsets("windows", end=9, told=100.0, since=98.0)
range(5, 9)
>>> 12 in readable.offsets("windows", end=9, told=98.5, since=98.0)
True
"""

from __future__ import annotations

import sys
from collections.abc import Hashable
from typing import Final

#: A high watermark counts if its fetch response came this much later, seconds: longer than an
#: earlier response can be in flight.
LATER_SECONDS: Final = 1.0


class FetchedRange:
    """First offset of each partition that is read in the present assignment."""

    def __init__(self) -> None:
        """Start with none."""
        self._positions: dict[Hashable, int] = {}
        self._first: dict[Hashable, int] = {}

    def before_poll(self, partition: Hashable, position: int | None) -> None:
        """Record a partition's position, while none of its records are in flight.

        Args:
            partition: The partition.
            position: Offset of its next record; None if it is not known yet.
        """
        if position is not None and partition not in self._first:
            self._positions[partition] = position

    def fetched(self, partition: Hashable, first: int) -> None:
        """Record the first offset of the records that were fetched from a partition."""
        self._first.setdefault(partition, first)

    def forget(self) -> None:
        """Reset: partitions will be read from their committed offsets."""
        self._positions.clear()
        self._first.clear()

    def offsets(self, partition: Hashable, *, end: int | None, told: float, since: float) -> range:
        """Offsets that were or will be read; an unknown bound excludes none.

        Args:
            partition: The partition.
            end: Its known high watermark; None if unknown.
            told: When the high watermark was fetched, seconds.
            since: When the prediction arrived, seconds.
        """
        begin = self._first.get(partition, self._positions.get(partition, 0))
        known = end is not None and told >= since + LATER_SECONDS
        return range(begin, end if known and end is not None else sys.maxsize)
