"""Refused registry events, with reasons. Only the latest are kept.

Reasons are for display: each is short, for an event of any size.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

import msgspec

from millrace.contracts.events.model_event import ModelEvent

#: Number of refusals that are kept; and the most characters of a reason, or of a name.
MAX_REFUSALS: Final = 200
MAX_REASON: Final = 300
#: Largest version that is shown as a number.
_LARGEST: Final = (1 << 63) - 1


@dataclass(frozen=True)
class Refusal:
    """A refused event, which has no effect.

    Attributes:
        model: The model that it names; empty if that cannot be decoded.
        version: The version that it names; None if it names none, or an invalid one.
        kind: The event's kind, as on the wire, or ``undecodable``.
        reason: The reason as text.
        at: The event's timestamp.
    """

    model: str
    version: int | None
    kind: str
    reason: str
    at: datetime | None = None


class _Names(msgspec.Struct):
    """Fields that may still be readable in an event that cannot be decoded, of any type."""

    model: Any = ""
    version: Any = None


def refusal_of(event: ModelEvent, reason: str) -> Refusal:
    """Build the refusal of an event."""
    kind = str(event.__struct_config__.tag)
    return Refusal(cut(event.model), _shown(event.version), kind, cut(reason), event.at)


def unreadable(value: bytes, reason: str) -> Refusal:
    """Build the refusal of a record of `model.events` that is no event.

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
    """Truncate a text to ``length`` characters; it must be escaped where it is printed."""
    return text if len(text) <= length else text[: length - 3] + "..."


def _shown(version: int | None) -> int | None:
    return version if version is not None and abs(version) <= _LARGEST else None
