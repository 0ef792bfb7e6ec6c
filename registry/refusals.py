"""Registry events that were refused: which, and why. Only the latest are kept.

The reasons are for people: each is short, however long the event was.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

import msgspec

from millrace.contracts.events.model_event import ModelEvent

#: Refusals that are kept, the latest; and the characters of a reason, or of a name.
MAX_REFUSALS: Final = 200
MAX_REASON: Final = 300
#: Largest version that is shown as a number.
_LARGEST: Final = (1 << 63) - 1


@dataclass(frozen=True)
class Refusal:
    """An event that changed nothing, because it must not.

    Attributes:
        model: The model that it names; empty if it cannot be told.
        version: The version that it names; None if it names none, or no possible one.
        kind: The event's kind, as on the wire, or ``undecodable``.
        reason: Why, in words.
        at: When the event says that it happened.
    """

    model: str
    version: int | None
    kind: str
    reason: str
    at: datetime | None = None


class _Names(msgspec.Struct):
    """What an event that cannot be decoded may still say, of whatever type."""

    model: Any = ""
    version: Any = None


def refusal_of(event: ModelEvent, reason: str) -> Refusal:
    """Make the note about an event that the fold refuses."""
    kind = str(event.__struct_config__.tag)
    return Refusal(cut(event.model), _shown(event.version), kind, cut(reason), event.at)


def unreadable(value: bytes, reason: str) -> Refusal:
    """Make the note about a record of `model.events` that is no event.

    Args:
        value: The record's value.
        reason: Why it cannot be decoded.
    """
    try:
        names = msgspec.json.decode(value, type=_Names)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        names = _Names()
    model = names.model if isinstance(names.model, str) else ""
    version = names.version if isinstance(names.version, int) else None
    return Refusal(cut(model), _shown(version), "undecodable", cut(reason))


def cut(text: str, length: int = MAX_REASON) -> str:
    """A text of so many characters at most; whoever prints it escapes it."""
    return text if len(text) <= length else text[: length - 3] + "..."


def _shown(version: int | None) -> int | None:
    return version if version is not None and abs(version) <= _LARGEST else None
