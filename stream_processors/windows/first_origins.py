"""Origins of a partition: offsets of its refused records, read from the dead letters.

A retry is accepted only if the origin that it names is one of them. So a record with a forged
origin cannot cause a window to be accepted, or ignored, in place of a record that was never
refused.

The letters are read backwards from the newest when the first retry arrives: back to the oldest
origin that it names, and if a later retry names an older one, back to the beginning. So a
partition's letters are read at most twice. Afterwards the owner adds those that it writes. Expired
letters are missing.

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
    """Offsets of the original refused records; 8 bytes each.

    Attributes:
        since: Offset from which they are known.
    """

    def __init__(self, offsets: Iterable[int], *, since: int) -> None:
        """Start with the origins that have a letter.

        Args:
            offsets: The offsets, in any order.
            since: ``offsets`` is complete from this offset on.
        """
        self.since = since
        self._offsets = array("q", sorted(offsets))

    def __contains__(self, offset: int) -> bool:
        """Whether an offset is an origin; valid for offsets from `since` on."""
        place = bisect_left(self._offsets, offset)
        return place < len(self._offsets) and self._offsets[place] == offset

    def __len__(self) -> int:
        """Number of known origins."""
        return len(self._offsets)

    def add(self, offset: int) -> None:
        """Add a record that is now refused; idempotent."""
        place = bisect_left(self._offsets, offset)
        if place == len(self._offsets) or self._offsets[place] != offset:
            self._offsets.insert(place, offset)
