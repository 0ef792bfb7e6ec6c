"""What comes one after the other is taken together, and nobody waits for what does not come."""

import asyncio
from collections.abc import Iterable
from types import SimpleNamespace
from typing import Any

from millrace.stream_processors.transport.batch_queue import BatchQueue, divide


def message(name: str, records: int = 1) -> Any:
    """A message of some records."""
    return SimpleNamespace(name=name, value=[None] * records)


def names(events: Iterable[Any]) -> str:
    """What messages are called."""
    return "".join(event.name for event in events)


async def agent(gathering: BatchQueue, messages: Iterable[Any]) -> None:
    """Take messages as a Faust stream hands them out: a turn of the loop before each."""
    for one in messages:
        await asyncio.sleep(0)
        await gathering.put(one)


def test_messages_that_come_one_after_the_other_are_taken_together() -> None:
    """In their order."""

    async def run() -> str:
        gathering = BatchQueue(most=100)
        _, found = await asyncio.gather(
            agent(gathering, [message(name) for name in "abcd"]), gathering.take()
        )
        return names(found)

    assert asyncio.run(run()) == "abcd"


def test_a_lonely_message_is_taken() -> None:
    """Nobody waits for a second one."""

    async def run() -> str:
        gathering = BatchQueue(most=100)
        await gathering.put(message("a"))
        return names(await asyncio.wait_for(gathering.take(), 5))

    assert asyncio.run(run()) == "a"


def test_no_more_is_taken_while_there_is_enough() -> None:
    """The agent waits, so that messages stay where Faust's flow control sees them."""

    async def run() -> list[str]:
        gathering = BatchQueue(most=5)
        taking = asyncio.create_task(
            agent(gathering, [message("a", 3), message("b", 3), message("c", 9), message("d")])
        )
        found = [names(await gathering.take()) for _ in range(3)]
        await taking
        return found

    assert asyncio.run(run()) == ["ab", "c", "d"]


def test_what_comes_while_partitions_change_hands_is_the_next_owners() -> None:
    """So is what was read in an earlier generation of the group."""
    found = [message(name) for name in "abc"]
    for one, generation in zip(found, (6, 7, 7), strict=True):
        one.message = SimpleNamespace(generation_id=generation)
    ours, others = divide(found, flowing=True, generation=7)
    assert (names(ours), names(others)) == ("bc", "a")
    ours, others = divide(found, flowing=False, generation=7)
    assert (names(ours), names(others)) == ("", "abc")
