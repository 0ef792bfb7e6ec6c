"""Offset ranges of a log without a readable record: transaction markers and aborted records.

Kafka counts them in a log's end, and a consumer group does not commit them. So a group that has
consumed every record may still be behind the end. After an attempt to read there, the empty range
is noted, and a committed offset within the range counts as its end.

>>> place = Place("predictions", 0)
>>> empty = EmptyRanges()
>>> empty.note(place, 10, 12)
>>> empty.next_unknown(place, 10), empty.next_unknown(place, 9)
(12, 9)
>>> empty.note(place, 12, 15)
>>> empty.next_unknown(place, 10)
15
"""

from __future__ import annotations

from millrace.infra.kafka.place import Place


class EmptyRanges:
    """The last range of each partition that was found to be empty."""

    def __init__(self) -> None:
        """Start with none."""
        self._ranges: dict[Place, range] = {}

    def note(self, place: Place, first: int, end: int) -> None:
        """Note that there is no record in [first, end)."""
        first = max(first, 0)
        known = self._ranges.get(place)
        follows = known is not None and known.start <= first <= known.stop
        self._ranges[place] = range(known.start if known and follows else first, end)

    def next_unknown(self, place: Place, committed: int) -> int:
        """The first offset from a committed one on that may hold a record; -1 stays -1."""
        known = self._ranges.get(place)
        if known is None or not known.start <= max(committed, 0) <= known.stop:
            return committed
        return max(committed, known.stop)
