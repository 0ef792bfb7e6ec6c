"""Observations of a consumer group go in, a verdict comes out: is this process stuck?

A partition is evidence while it has records to read and its committed offset does not move.
What counts is time that was *observed*: a broker that answers nothing, or a process that was
stopped meanwhile, adds none of it, and a gap in the observations begins the count anew.

>>> place = Place("sensor.windows", 0)
>>> limits = Limits(stall_seconds=5, start_seconds=60, most_step_seconds=3)
>>> memory = Memory()
>>> for second in (0, 2, 4, 6):
...     memory, verdict = judge(memory, second, Observation({place}, {place: (10, 14)}), limits)
>>> str(verdict)
'no progress for 6 s: sensor.windows/0 stands at 10 of 14'
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple


class Place(NamedTuple):
    """A partition."""

    topic: str
    partition: int

    def __str__(self) -> str:
        """Name it as people do."""
        return f"{self.topic}/{self.partition}"


@dataclass(frozen=True)
class Limits:
    """How long is too long, in seconds.

    Attributes:
        stall_seconds: A partition with records to read, whose committed offset stands still.
        start_seconds: Start-up, and the recovery of tables.
        most_step_seconds: Most that the time between two observations counts.
    """

    stall_seconds: float
    start_seconds: float
    most_step_seconds: float


@dataclass(frozen=True)
class Observation:
    """What was seen at one moment.

    Attributes:
        owned: Partitions that the process works on; None while it starts or recovers tables.
        progress: Committed offset of the group (-1 for none) and the offset after the last
            readable record, by partition; one that gave no answer is left out. None if
            nobody answered.
    """

    owned: Collection[Place] | None
    progress: Mapping[Place, tuple[int, int]] | None


@dataclass(frozen=True)
class Standstill:
    """A committed offset with records after it, and for how long that has been seen."""

    committed: int
    end: int
    seconds: float


@dataclass(frozen=True)
class Memory:
    """What the judge carries from one observation to the next.

    Attributes:
        at: When the last one was; None before the first, and after one without an answer.
        still: Partitions that stand still.
        starting_seconds: For how long the process has been starting.
    """

    at: float | None = None
    still: Mapping[Place, Standstill] = field(default_factory=dict)
    starting_seconds: float = 0.0


@dataclass(frozen=True)
class Stall:
    """The process is stuck.

    Attributes:
        seconds: For how long.
        still: Partitions that stand still; none if it is the start that takes too long.
    """

    seconds: float
    still: Mapping[Place, Standstill]

    def __str__(self) -> str:
        """Say it in one line."""
        if not self.still:
            return f"not ready after {self.seconds:.0f} s"
        places = ", ".join(
            f"{place} stands at {max(one.committed, 0)} of {one.end}"
            for place, one in sorted(self.still.items())
        )
        return f"no progress for {self.seconds:.0f} s: {places}"


def judge(
    memory: Memory, now: float, seen: Observation, limits: Limits
) -> tuple[Memory, Stall | None]:
    """Judge a process by the next observation.

    Args:
        memory: From the last judgement; a new one at first.
        now: A clock in seconds that never goes back.
        seen: The observation.
        limits: How long is too long.

    Returns:
        What to remember, and the verdict: None while nothing speaks against the process.
    """
    if seen.progress is None:
        return Memory(), None
    step = 0.0 if memory.at is None else min(now - memory.at, limits.most_step_seconds)
    if seen.owned is None:
        starting = memory.starting_seconds + step
        late = starting >= limits.start_seconds
        return Memory(at=now, starting_seconds=starting), Stall(starting, {}) if late else None
    still: dict[Place, Standstill] = {}
    for place in seen.owned:
        committed, end = seen.progress.get(place, (0, 0))
        if end <= max(committed, 0):
            continue
        before = memory.still.get(place)
        known = before is not None and before.committed == committed
        still[place] = Standstill(committed, end, before.seconds + step if before and known else 0)
    overdue = {place: one for place, one in still.items() if one.seconds >= limits.stall_seconds}
    verdict = Stall(max(one.seconds for one in overdue.values()), overdue) if overdue else None
    return Memory(at=now, still=still), verdict
