"""Queue of messages between the Faust agent, which receives them, and the processor.

Faust hands an agent one message at a time and gives no end-of-batch signal: the next message may
come later, be skipped, or be dropped in a rebalance. So the agent enqueues each message at once,
and never waits for another message while it holds one.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any, Final

#: Turns of the event loop within which the agent receives the next message of a poll, if there is
#: one: Faust needs three.
NEXT_TURNS: Final = 5


class BatchQueue:
    """Unprocessed messages, in order; owned by the event loop."""

    def __init__(self, most: int) -> None:
        """Start with none.

        Args:
            most: Limit of queued records: once it is reached, or exceeded by the last message,
                `put` blocks until they are taken.
        """
        self._most = most
        self._events: list[Any] = []
        self._records = 0
        self._there = asyncio.Event()
        self._room = asyncio.Event()

    async def put(self, event: Any) -> None:
        """Add a message, whose value is a list of records; then block while the queue is full."""
        self._events.append(event)
        self._records += len(event.value)
        self._there.set()
        while self._records >= self._most:
            self._room.clear()
            await self._room.wait()

    async def take(self) -> list[Any]:
        """Wait for messages, and take all that arrive in direct succession.

        Returns:
            At least one.
        """
        await self._there.wait()
        known = 0
        while known < len(self._events) and self._records < self._most:
            known = len(self._events)
            for _ in range(NEXT_TURNS):
                await asyncio.sleep(0)
        found, self._events, self._records = self._events, [], 0
        self._there.clear()
        self._room.set()
        return found


def divide(
    found: Sequence[Any], *, flowing: bool, generation: int
) -> tuple[Sequence[Any], Sequence[Any]]:
    """Separate the messages that this process owns from those that the next owner reads again.

    Faust's stream makes the same distinction when it delivers a message.

    Args:
        found: Messages as they were taken.
        flowing: Whether messages are delivered; not so in a rebalance or during shutdown.
        generation: The group's generation.

    Returns:
        Those to process, and the others.
    """
    ours: list[Any] = []
    others: list[Any] = []
    for event in found:
        is_ours = flowing and event.message.generation_id == generation
        (ours if is_ours else others).append(event)
    return ours, others
