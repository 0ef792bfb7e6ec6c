"""Decides from observations of a consumer group whether this process is stuck.

A partition is evidence while its committed offset does not move and its log continues after it.
The log may continue with transaction markers only, which a consumer never reads. So a count stores
the log end at its beginning: a `Stall` means that if there is a record in [committed, end), that
record was there all the time and was not consumed. The caller looks for such a record first, and
if there is none, observes ``end`` as the committed offset from then on, which restarts the count.
Hence a process that commits every record within `Limits.stall_seconds` of its arrival is never
ended, whatever markers lie between the records; after a marker, a record that is not consumed may
be detected one stall time later.

Only *observed* time counts: time in which the broker does not answer, or in which the process was
suspended, adds nothing, and a gap in the observations restarts the count. A start counts for as
long as it makes no progress.

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
from dataclasses import dataclass, field, replace

from millrace.infra.kafka.place import Place


@dataclass(frozen=True)
class Limits:
    """Time limits, in seconds.

    Attributes:
        stall_seconds: A partition with records to read, whose committed offset stands still.
        start_seconds: Start-up, or the recovery of tables, without progress.
        most_step_seconds: Upper bound on the time that is counted between two observations.
    """

    stall_seconds: float
    start_seconds: float
    most_step_seconds: float


@dataclass(frozen=True)
class Observation:
    """State of the process at one moment.

    Attributes:
        owned: Partitions that the process works on; None while it starts or recovers tables.
        progress: Committed offset of the group (-1 for none) and the end of the log, by
            partition; one without an answer is left out. None if no broker answered.
        started: Progress of the start, in any unit; a changed value is progress.
    """

    owned: Collection[Place] | None
    progress: Mapping[Place, tuple[int, int]] | None
    started: int = 0


@dataclass(frozen=True)
class Standstill:
    """A committed offset that does not move and lies before the end of its log.

    Attributes:
        committed: The offset; -1 for none.
        end: The end of the log when this was first observed.
        seconds: For how long it has been observed.
    """

    committed: int
    end: int
    seconds: float


@dataclass(frozen=True)
class Memory:
    """State that `judge` carries from one observation to the next.

    Attributes:
        at: Time of the last one; None before the first, and after one without an answer.
        still: Partitions whose committed offset does not move.
        started: Progress of the start.
        starting_seconds: For how long the start has made no progress.
    """

    at: float | None = None
    still: Mapping[Place, Standstill] = field(default_factory=dict)
    started: int | None = None
    starting_seconds: float = 0.0


@dataclass(frozen=True)
class Stall:
    """The process is stuck.

    Attributes:
        seconds: For how long.
        still: Partitions that stand still, if a record lies between the committed offset and
            the end of one; none if it is the start that makes no progress.
    """

    seconds: float
    still: Mapping[Place, Standstill]

    def __str__(self) -> str:
        """Describe it in one line."""
        if not self.still:
            return f"not ready, and no progress for {self.seconds:.0f} s"
        places = ", ".join(
            f"{place} stands at {max(one.committed, 0)} of {one.end}"
            for place, one in sorted(self.still.items())
        )
        return f"no progress for {self.seconds:.0f} s: {places}"


def judge(
    memory: Memory, now: float, seen: Observation, limits: Limits
) -> tuple[Memory, Stall | None]:
    """Evaluate the next observation of a process.

    Args:
        memory: State from the last call; a new one at first.
        now: A monotonic clock in seconds.
        seen: The observation.
        limits: Time limits.

    Returns:
        The new state, and the verdict: None while there is no evidence that the process is stuck.
    """
    if seen.progress is None:
        return Memory(), None
    step = 0.0 if memory.at is None else min(now - memory.at, limits.most_step_seconds)
    if seen.owned is None:
        stands = memory.started == seen.started
        starting = memory.starting_seconds + step if stands else 0.0
        late = starting >= limits.start_seconds
        begun = Memory(at=now, started=seen.started, starting_seconds=starting)
        return begun, Stall(starting, {}) if late else None
    still: dict[Place, Standstill] = {}
    for place in seen.owned:
        committed, end = seen.progress.get(place, (0, 0))
        if end <= max(committed, 0):
            continue
        before = memory.still.get(place)
        if before is not None and before.committed == committed:
            still[place] = replace(before, seconds=before.seconds + step)
        else:
            still[place] = Standstill(committed, end, 0.0)
    overdue = {place: one for place, one in still.items() if one.seconds >= limits.stall_seconds}
    verdict = Stall(max(one.seconds for one in overdue.values()), overdue) if overdue else None
    return Memory(at=now, still=still), verdict
