"""Fences: from which source offset each version serves, so which version served an asset at T."""

from __future__ import annotations

from typing import ClassVar

from millrace.contracts.events.event import Event
from millrace.contracts.moment import Moment
from millrace.contracts.topics import SERVING_LEDGER, Topic


class LedgerEntry(Event, frozen=True):
    """A fence in the stream.

    Written and confirmed before the first window with this stamp. Windows of the model in
    this partition from ``first_offset`` on, up to the next epoch's, carry this version.

    Attributes:
        model: The model.
        partition: Partition of `sensor.windows`.
        epoch: Serving epoch.
        version: Version stamped in it.
        first_offset: First source offset that it applies to.
        stamped_at: When the fence was set.
    """

    TYPE: ClassVar[str] = "millrace.ledger-entry.v1"
    TOPIC: ClassVar[Topic] = SERVING_LEDGER

    model: str
    partition: int
    epoch: int
    version: int
    first_offset: int
    stamped_at: Moment
    v: int = 1

    @property
    def key(self) -> str:
        """Record key; compaction keeps each epoch's fence."""
        return f"{self.model}/{self.partition}/{self.epoch}"
