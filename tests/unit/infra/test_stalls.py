"""When a process counts as stuck, and when it does not."""

from __future__ import annotations

from collections.abc import Iterable

from hypothesis import given
from hypothesis import strategies as st

from infra.stalls import Limits, Memory, Observation, Place, Stall, judge

ONE, OTHER = Place("t", 0), Place("t", 1)
LIMITS = Limits(stall_seconds=30, start_seconds=100, most_step_seconds=6)


def at(committed: int, end: int) -> Observation:
    """Partition `ONE` is owned, and stands there."""
    return Observation({ONE}, {ONE: (committed, end)})


def verdicts(seen: Iterable[tuple[float, Observation]]) -> list[float]:
    """When a process was found to be stuck."""
    memory, found = Memory(), []
    for now, observation in seen:
        memory, stall = judge(memory, now, observation, LIMITS)
        if stall is not None:
            found.append(now)
    return found


def test_lag_without_commits_is_a_stall_after_its_time() -> None:
    """Not a look earlier, whether or not more records come meanwhile."""
    assert verdicts((t, at(5, 9 + t)) for t in range(0, 40, 3)) == [30, 33, 36, 39]


def test_a_group_that_never_committed_counts_from_the_first_record() -> None:
    """Its committed offset is none, and there are records."""
    assert verdicts((t, at(-1, 1)) for t in range(0, 34, 3)) == [30, 33]


def test_no_lag_is_no_stall() -> None:
    """Whoever has nothing to do commits nothing; an empty partition has no committed offset."""
    assert not verdicts((t, at(9, 9)) for t in range(0, 300, 3))
    assert not verdicts((t, at(-1, 0)) for t in range(0, 300, 3))


@given(st.lists(st.integers(1, 5), min_size=20, max_size=60), st.integers(1, 9))
def test_whoever_commits_in_time_is_never_ended(steps: list[int], every: int) -> None:
    """However far behind it is."""
    now, committed, seen = 0.0, 0, []
    for number, step in enumerate(steps):
        now += step
        committed += number % min(every, 5) == 0
        seen.append((now, at(committed, 10**9)))
    assert not verdicts(seen)


def test_a_broker_that_is_away_is_no_evidence() -> None:
    """The count begins anew with its return."""
    away = Observation({ONE}, None)
    seen = [(float(t), at(5, 9) if t < 27 else away) for t in range(0, 60, 3)]
    back = [(float(t), at(5, 9)) for t in range(60, 93, 3)]
    assert verdicts(seen + back) == [90]


def test_a_partition_that_gives_no_answer_is_no_evidence() -> None:
    """One that is missing in an answer begins anew; the others do not."""
    memory = Memory()
    for now in range(0, 30, 3):
        progress = {ONE: (5, 9)} if now == 15 else {ONE: (5, 9), OTHER: (1, 2)}
        memory, stall = judge(memory, now, Observation({ONE, OTHER}, progress), LIMITS)
        assert stall is None
    _, stall = judge(memory, 30, Observation({ONE, OTHER}, {ONE: (5, 9), OTHER: (1, 2)}), LIMITS)
    assert isinstance(stall, Stall)
    assert set(stall.still) == {ONE}
    assert str(stall) == "no progress for 30 s: t/0 stands at 5 of 9"


def test_time_in_which_nobody_looked_does_not_count() -> None:
    """A whole process that was stopped for an hour is not stuck when it goes on."""
    assert not verdicts([(0, at(5, 9)), (3, at(5, 9)), (3600, at(5, 9)), (3603, at(6, 9))])


def test_a_partition_that_was_away_begins_anew() -> None:
    """What was seen before it was taken away says nothing about its return."""
    mine = [(float(t), at(5, 9)) for t in range(0, 27, 3)]
    away = [(27.0, Observation(set(), {}))]
    again = [(float(t), at(5, 9)) for t in range(30, 60, 3)]
    assert not verdicts(mine + away + again)


def test_a_start_that_never_ends_is_a_stall() -> None:
    """Table recovery can hang; time without a broker is not part of it."""
    starting = [(float(t), Observation(None, {})) for t in range(0, 99, 3)]
    assert verdicts([*starting, (99.0, Observation(None, {}))]) == []
    assert verdicts([*starting, (99.0, Observation(None, {})), (102.0, Observation(None, {}))])
    away = [(99.0, Observation(None, None)), (102.0, Observation(None, {}))]
    assert not verdicts([*starting, *away])
