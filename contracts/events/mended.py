"""Records which retry of a dead letter was accepted."""

from __future__ import annotations

from typing import ClassVar

from millrace.contracts.events.event import Event
from millrace.contracts.moment import Moment
from millrace.contracts.topics import MENDED, Topic


class Resolution(Event, frozen=True):
    """The accepted retry of a dead letter; any other retry with the same origin is ignored.

    There is one per first origin: the offset at which the record was first refused.

    Attributes:
        partition: Partition of `sensor.windows`.
        first_offset: Offset of the record that was first refused.
        offset: Offset of the retry that was accepted.
        at: When it was accepted.
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
