"""A partition of a topic."""

from __future__ import annotations

from typing import NamedTuple


class Place(NamedTuple):
    """A partition."""

    topic: str
    partition: int

    def __str__(self) -> str:
        """Format it for people."""
        return f"{self.topic}/{self.partition}"
