"""What the edge's loop hands windows to: a sender from memory, or one through a spool."""

from typing import Final, Protocol

import msgspec

from millrace.contracts.events.window import SensorWindow
from millrace.contracts.headers import RawHeaders

#: How long a run that is asked to end waits for the broker, seconds.
END_SECONDS: Final = 5.0


class SpoolCounts(msgspec.Struct, frozen=True):
    """What a spool did in a run.

    Attributes:
        folder: Where it is, or was: one that is done with is removed.
        found: Windows that waited there at the start, sent before all others.
        spooled: Windows of this run that were written to it.
        waiting: Windows that wait there at the end.
        not_recorded: Windows of a live source for which there was no room.
    """

    folder: str
    found: int
    spooled: int
    waiting: int
    not_recorded: int


class Outbox(Protocol):
    """Delivers windows; owned by one thread."""

    @property
    def handed(self) -> int:
        """Records taken over in this run."""
        ...

    @property
    def left(self) -> int:
        """Those of them that the broker has not confirmed: the last ones."""
        ...

    @property
    def note(self) -> str:
        """What a person who watches should know; empty when all is well."""
        ...

    def counts(self) -> SpoolCounts | None:
        """What its spool did; None without one."""
        ...

    def send(self, window: SensorWindow) -> bool:
        """Take over a window; false if it cannot be taken."""
        ...

    def send_record(self, key: bytes | None, value: bytes, headers: RawHeaders, at_ms: int) -> bool:
        """Take over a record as it is; false if it cannot be taken."""
        ...

    def poll(self, seconds: float) -> None:
        """Work for so long."""
        ...

    def flush(self) -> None:
        """Wait for the broker to confirm everything, within reason."""
        ...
