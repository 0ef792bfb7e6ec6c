"""What was produced and is not yet written down as confirmed: pure counting.

Reports come per partition in order and across partitions in any; only the longest run of
numbers from the first without a gap can be written down. Of each asset no more than
`REPEATS` are under way, so that what a crash repeats is less than the windows that a stream
processor remembers of an asset, and each repeat is recognised.

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

#: Most windows of one asset whose confirmation is not written down.
REPEATS: Final = 192


class InFlight:
    """Numbers of records that are under way, in the order in which they were produced."""

    def __init__(self) -> None:
        """Nothing is under way."""
        self._order: deque[tuple[int, bytes | None]] = deque()
        self._confirmed: set[int] = set()
        self._of: Counter[bytes | None] = Counter()

    def __len__(self) -> int:
        """How many are under way, or confirmed after one that is."""
        return len(self._order)

    def has_room(self, key: bytes | None) -> bool:
        """Whether one more record of an asset may be produced."""
        return self._of[key] < REPEATS

    def add(self, number: int, key: bytes | None) -> None:
        """Note that a record was produced; numbers come in order."""
        self._order.append((number, key))
        self._of[key] += 1

    def confirm(self, number: int) -> None:
        """Note that the broker has a record."""
        self._confirmed.add(number)

    def settle(self) -> int | None:
        """Let go of those that are confirmed without a gap.

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
