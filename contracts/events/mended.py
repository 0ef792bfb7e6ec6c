"""A refused record that was sent again, and was taken: the end of its dead letters."""

from __future__ import annotations

from typing import ClassVar

from millrace.contracts.events.event import Event
from millrace.contracts.moment import Moment
from millrace.contracts.topics import MENDED, Topic


class Mended(Event, frozen=True):
    """Which refused record was taken in the end, and as which.

    There is one per first origin, and it is the memory of that: a record with the same first
    origin and another offset has no effect any more.

    Attributes:
        partition: Partition of `sensor.windows`.
        first_offset: Offset of the record that was refused first.
        offset: Offset of the record that was sent again and taken.
        at: When it was taken.
    """

    TYPE: ClassVar[str] = "millrace.mended-letter.v1"
    TOPIC: ClassVar[Topic] = MENDED

    partition: int
    first_offset: int
    offset: int
    at: Moment
    v: int = 1

    @property
    def key(self) -> str:
        """Record key; compaction keeps each."""
        return f"{self.partition}/{self.first_offset}"
