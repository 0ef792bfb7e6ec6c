"""First origins of a partition: which of its records were refused first, as the letters tell.

A record that says it was sent again is taken only if the place that it names is one of them;
so nobody can have a window taken, or passed over, in the name of a record that was never
refused.

The letters are read from their end, once a record that was sent again comes: down to the
oldest origin that it asks for, and if an older one is asked for later, down to the beginning.
So a partition's letters are read twice at most. Afterwards the owner adds those that it
writes. A letter that has expired is not among them.

>>> letters = FirstOrigins([3, 9], since=3)
>>> letters.add(12)
>>> 9 in letters, 10 in letters, 12 in letters, letters.since
(True, False, True, 3)
"""

from __future__ import annotations

from array import array
from bisect import bisect_left
from collections.abc import Iterable


class FirstOrigins:
    """Offsets of the records that were refused first; 8 bytes each.

    Attributes:
        since: Offset from which they are known.
    """

    def __init__(self, offsets: Iterable[int], *, since: int) -> None:
        """Start with those that have a letter.

        Args:
            offsets: The offsets, in any order.
            since: All of them from this offset on are given.
        """
        self.since = since
        self._offsets = array("q", sorted(offsets))

    def __contains__(self, offset: int) -> bool:
        """Whether a record was refused first; asked about offsets from `since` on."""
        place = bisect_left(self._offsets, offset)
        return place < len(self._offsets) and self._offsets[place] == offset

    def __len__(self) -> int:
        """How many are known."""
        return len(self._offsets)

    def add(self, offset: int) -> None:
        """Add a record that is refused now; adding it again changes nothing."""
        place = bisect_left(self._offsets, offset)
        if place == len(self._offsets) or self._offsets[place] != offset:
            self._offsets.insert(place, offset)
