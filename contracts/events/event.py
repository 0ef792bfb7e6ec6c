"""Base of all kinds of events; each declares its type, topic, key and encoding.

A kind is one file in this folder: a struct derived from `Event`, with `Event.TYPE` and
`Event.TOPIC`. The publisher, the readers, the JSON Schemas and the AsyncAPI document are derived
from these declarations.
"""

from __future__ import annotations

from typing import ClassVar, Final

import msgspec

from millrace.contracts.topics import Topic

JSON: Final = "application/json"
MSGPACK: Final = "application/msgpack"


class Event(msgspec.Struct, frozen=True):
    """Base of all kinds of events."""

    #: CloudEvents type.
    TYPE: ClassVar[str]
    TOPIC: ClassVar[Topic]
    #: Media type of the record's value.
    CONTENT_TYPE: ClassVar[str] = JSON
    #: Whether the record's headers carry the offset of its source record.
    DERIVED: ClassVar[bool] = False
    #: Name in the schemas; empty for the name derived from `TYPE`.
    SCHEMA: ClassVar[str] = ""
    #: Attribute that is the record's key.
    KEY: ClassVar[str] = "asset"

    @property
    def key(self) -> str:
        """Record key."""
        return str(getattr(self, self.KEY))

    @property
    def event_id(self) -> str:
        """CloudEvents id: the attribute ``id``, or the key of a kind that has none."""
        return str(getattr(self, "id", self.key))
