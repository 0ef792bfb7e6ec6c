"""Which version served from which source offset: the answer to "who served asset A at T?"."""

from __future__ import annotations

import msgspec

from millrace.contracts.moment import Moment


class LedgerEntry(msgspec.Struct, frozen=True):
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
