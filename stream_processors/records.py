"""What is asked of a record."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol


class Payload(Protocol):
    """What a record says, wherever it is."""

    @property
    def key(self) -> bytes | None:
        """Its key: the asset."""

    @property
    def value(self) -> bytes | None:
        """Its value."""

    @property
    def packed(self) -> bytes:
        """Its headers in Kafka's form, see `packing.packed_headers`."""

    @property
    def headers(self) -> Sequence[tuple[str, bytes]]:
        """Its headers, in order; the last of a name counts; one may be null on the wire."""


class Record(Payload, Protocol):
    """A record of a batch."""

    @property
    def offset(self) -> int:
        """Its offset."""

    @property
    def timestamp(self) -> int:
        """Milliseconds UTC."""
