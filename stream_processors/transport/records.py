"""Protocols of a record."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from millrace.contracts.invalid_record import InvalidRecord


class Payload(Protocol):
    """A record's content, independent of its place."""

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
        """Its headers, in order; the last of a name counts; a value may be null on the wire."""


class Record(Payload, Protocol):
    """A record of a batch."""

    @property
    def offset(self) -> int:
        """Its offset."""

    @property
    def timestamp(self) -> int:
        """Milliseconds UTC."""


def problem_of(record: Payload) -> InvalidRecord | None:
    """Why the batch that a record stands for cannot be decoded; None for an ordinary record.

    It does not name `unpacking.UnreadBatch`, so that validation without a broker needs no Kafka
    client.
    """
    problem: InvalidRecord | None = getattr(record, "problem", None)
    return problem
