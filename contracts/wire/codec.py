"""JSON events on the wire: value bytes and CloudEvents headers, and back."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Generic, TypeVar, get_args

import msgspec

from millrace.contracts.errors import DataError
from millrace.contracts.events.event import Event
from millrace.contracts.headers import RawHeaders, cloud_event
from millrace.contracts.invalid_record import InvalidRecord

E = TypeVar("E")

_encode = msgspec.json.Encoder().encode


def encode(event: Event) -> bytes:
    """Encode an event as JSON."""
    return _encode(event)


def headers_of(event: Event, source: str, at: datetime) -> RawHeaders:
    """Build an event's CloudEvents headers.

    Args:
        event: The event.
        source: Its producer, for example ``/millrace/trainer``.
        at: When.
    """
    return cloud_event(event.event_id, event.TYPE, source, event.CONTENT_TYPE, at)


class EventReader(Generic[E]):
    """Decodes one kind of JSON event.

    >>> from millrace.contracts.events.ledger import LedgerEntry
    >>> reader = EventReader(LedgerEntry)
    >>> try:
    ...     reader(b"{")
    ... except InvalidRecord as problem:
    ...     print(problem.reason)
    undecodable
    """

    def __init__(self, kind: type[E] | Any) -> None:
        """Prepare a decoder for a struct or a union of structs."""
        self._kind = kind
        self._decode = msgspec.json.Decoder(kind).decode

    def __call__(self, data: bytes) -> E:
        """Decode a record's value.

        Raises:
            InvalidRecord: It is not such an event.
        """
        try:
            event: E = self._decode(data)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError, DataError) as error:
            kinds = get_args(self._kind) or (self._kind,)
            name = " or ".join(getattr(kind, "__name__", str(kind)) for kind in kinds)
            raise InvalidRecord("undecodable", f"not a {name}: {error}") from error
        return event

    def valid(self, data: bytes | None) -> E | None:
        """Decode a record's value; None if it is not such an event, as of a foreign producer.

        For readers that may ignore such a record; a reader that must report it calls the object.
        """
        try:
            return self(data or b"")
        except InvalidRecord:
            return None
