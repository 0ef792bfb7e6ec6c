"""Tracks records that were produced and are not yet recorded as confirmed: pure counting.

Delivery reports arrive in order within a partition and in any order across partitions; only the
longest prefix of numbers without a gap can be recorded. Of each asset at most `REPEATS` records are
in flight, so that a crash repeats fewer windows than a stream processor remembers of an asset, and
each repeat is recognised.

>>> flight = InFlight()
>>> for number in (1, 2, 3):
...     flight.add(number, b"pump-1")
>>> flight.confirm(2), flight.settle()
(None, None)
>>> flight.confirm(1), flight.settle(), len(flight)
(None, 2, 1)
"""

from collections import Counter, deque
from typing import Final

#: Most windows of one asset whose confirmation is not recorded yet.
REPEATS: Final = 192


class InFlight:
    """Numbers of records in flight, in the order in which they were produced."""

    def __init__(self) -> None:
        """Start with nothing in flight."""
        self._order: deque[tuple[int, bytes | None]] = deque()
        self._confirmed: set[int] = set()
        self._of: Counter[bytes | None] = Counter()

    def __len__(self) -> int:
        """Number of records that are in flight, or confirmed after one that is in flight."""
        return len(self._order)

    def has_room(self, key: bytes | None) -> bool:
        """Whether one more record of an asset may be produced."""
        return self._of[key] < REPEATS

    def add(self, number: int, key: bytes | None) -> None:
        """Note that a record was produced; numbers ascend."""
        self._order.append((number, key))
        self._of[key] += 1

    def confirm(self, number: int) -> None:
        """Note that the broker has confirmed a record."""
        self._confirmed.add(number)

    def settle(self) -> int | None:
        """Drop the records that are confirmed without a gap.

        Returns:
            Number of the last of them; None if there are none.
        """
        last = None
        order, confirmed = self._order, self._confirmed
        while order and order[0][0] in confirmed:
            last, key = order.popleft()
            confirmed.remove(last)
            self._of[key] -= 1
            if not self._of[key]:
                del self._of[key]
        return last
