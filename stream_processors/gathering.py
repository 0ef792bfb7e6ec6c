"""Messages that came together: between the agent, which takes them, and who works them off.

Faust hands an agent one message at a time, and the agent cannot know whether there is another
one: it may wait, be skipped, or be gone by the next turn of the event loop, because partitions
change hands. So the agent only puts messages here, and never holds one that nobody works on.
"""

from __future__ import annotations

import asyncio
from typing import Any, Final

#: Turns of the event loop within which the agent has its next message, if there is one.
NEXT_TURNS: Final = 3


class Gathering:
    """Messages that nobody works on yet, in their order; owned by the event loop."""

    def __init__(self, most: int) -> None:
        """Start with none.

        Args:
            most: Records that are enough: no more messages are taken before these are taken away.
        """
        self._most = most
        self._events: list[Any] = []
        self._records = 0
        self._there = asyncio.Event()
        self._room = asyncio.Event()

    async def put(self, event: Any) -> None:
        """Add a message, whose value is a list of records; then wait while there are enough."""
        self._events.append(event)
        self._records += len(event.value)
        self._there.set()
        while self._records >= self._most:
            self._room.clear()
            await self._room.wait()

    async def take(self) -> list[Any]:
        """Wait for messages, and take away all that come one after the other.

        Returns:
            At least one, unless they were dropped meanwhile.
        """
        await self._there.wait()
        known = 0
        while known < len(self._events) and self._records < self._most:
            known = len(self._events)
            for _ in range(NEXT_TURNS):
                await asyncio.sleep(0)
        return self.drop()

    def drop(self) -> list[Any]:
        """Take away what is there, without waiting."""
        events, self._events, self._records = self._events, [], 0
        self._there.clear()
        self._room.set()
        return events
