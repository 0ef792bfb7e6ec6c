"""The port of spools: a first-in, first-out queue of records that the broker has not confirmed.

A record is appended before it is produced, and confirmed when the broker has acknowledged it.
Records are numbered from 1 without a gap. See docs/ports/spools.md for how to write your own.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from millrace.contracts.errors import MillraceError
from millrace.producers.record import Record


class SpoolFullError(MillraceError):
    """There is no room for more records now; no record of the batch was accepted."""


class Spool(Protocol):
    """A queue; owned by one thread.

    Attributes:
        last: Number of the last record appended.
        confirmed: All records up to this number are confirmed.
    """

    last: int
    confirmed: int

    @property
    def waiting(self) -> int:
        """Records that are not confirmed."""
        ...

    @property
    def size(self) -> int:
        """Its size, bytes."""
        ...

    @property
    def is_durable(self) -> bool:
        """Whether its records outlive the process."""
        ...

    @property
    def place(self) -> str:
        """Its location, for people."""
        ...

    @property
    def position(self) -> bytes | None:
        """Place in the source after the last record, as passed to `append`; None if unknown."""
        ...

    def append(self, records: Sequence[Record], position: bytes | None = None) -> None:
        """Add a batch: all of it, or nothing if this raises.

        Args:
            records: In order.
            position: Place in the source after the last of them; None keeps the last one.

        Raises:
            SpoolFullError: No room; once there is, the same call succeeds.
            DataError: The spool is damaged.
        """
        ...

    def read(self, after: int, count: int, most_bytes: int) -> list[tuple[int, Record]]:
        """Read records in order.

        Args:
            after: Number after which to begin, not below `confirmed`.
            count: How many at most.
            most_bytes: Bytes of values after which to stop; at least one record is read.

        Returns:
            Numbers and records; empty if there are none.

        Raises:
            DataError: The spool is damaged.
        """
        ...

    def confirm(self, through: int) -> None:
        """Note that the broker has every record up to a number.

        Raises:
            SpoolFullError: The number could not be written.
        """
        ...
