"""The wall clock, and event time in milliseconds as moments."""

from __future__ import annotations

from datetime import UTC, datetime


def now() -> datetime:
    """The wall clock, UTC."""
    return datetime.now(UTC)


def event_time(milliseconds: int) -> datetime:
    """Event time in milliseconds as a UTC moment."""
    return datetime.fromtimestamp(milliseconds / 1000, UTC)


def to_ms(moment: datetime) -> int:
    """A UTC moment in milliseconds."""
    return round(moment.timestamp() * 1000)
