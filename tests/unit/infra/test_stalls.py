"""When a process counts as stuck, and when it does not."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from millrace.infra.kafka.place import Place
from millrace.infra.process.stalls import Limits, Memory, Observation, Stall, judge
from millrace.infra.progress.empty_ranges import EmptyRanges

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


class Log:
    """A partition's records and transaction markers, and when each arrived."""

    def __init__(self, gaps: Iterable[tuple[float, bool]]) -> None:
        """Take the pauses between the entries, and whether each is a record."""
        self.arrived: list[float] = []
        self.is_record: list[bool] = []
        now = 0.0
        for gap, is_record in gaps:
            now += gap
            self.arrived.append(now)
            self.is_record.append(is_record)

    def end(self, now: float) -> int:
        """The offset after the last entry at a moment."""
        return bisect_left(self.arrived, now)

    def committed(self, now: float, within: float) -> int:
        """What a group has committed that commits each record so long after its arrival.

        Whoever reads records alone commits the offset after the last one, not after markers.
        """
        records = [o for o in range(self.end(now - within)) if self.is_record[o]]
        return records[-1] + 1 if records else -1

    def has_record(self, first: int, end: int) -> bool:
        """Whether a record lies in a range of offsets."""
        return any(self.is_record[max(first, 0) : end])


def ends(log: Log, within: float, every: float, seconds: float) -> list[float]:
    """When a watchdog ends a process that commits each record so long after its arrival."""
    memory, found = Memory(), []
    empty = EmptyRanges()
    for look in range(int(seconds / every)):
        now = look * every
        committed, end = empty.next_unknown(ONE, log.committed(now, within)), log.end(now)
        memory, stall = judge(memory, now, at(committed, end), LIMITS)
        if stall is not None:
            first, until = stall.still[ONE].committed, stall.still[ONE].end
            if log.has_record(first, until):
                found.append(now)
            else:
                empty.note(ONE, first, until)
    return found


GAPS = st.lists(st.tuples(st.floats(0, 80), st.booleans()), min_size=1, max_size=40)


@given(GAPS, st.floats(0, LIMITS.stall_seconds - 0.1), st.floats(0.5, 6))
def test_whoever_takes_each_record_in_time_is_never_ended(
    gaps: list[tuple[float, bool]], within: float, every: float
) -> None:
    """Whatever markers lie between, and whenever the records come: a slow cadence, say."""
    log = Log(gaps)
    assert not ends(log, within, every, log.arrived[-1] + 200)


@pytest.mark.parametrize("gaps", [[(31.0, True)], [(1.0, True), (10.0, False), (20.0, True)]])
def test_a_record_that_is_never_taken_ends_the_process(gaps: list[tuple[float, bool]]) -> None:
    """A marker before it delays that by one stall time at most."""
    log = Log(gaps)
    first, *_ = ends(log, within=1000.0, every=3.0, seconds=200)
    assert first <= 31 + 2 * LIMITS.stall_seconds + 6


def test_a_stall_speaks_of_the_records_that_were_there_when_its_count_began() -> None:
    """What came later may be a moment old; whether to act depends on the ones before."""
    memory = Memory()
    for now in range(0, 33, 3):
        memory, stall = judge(memory, now, at(5, 6 if now < 30 else 8), LIMITS)
    assert stall is not None
    assert (stall.still[ONE].committed, stall.still[ONE].end) == (5, 6)


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


def test_a_start_that_goes_on_is_no_stall_however_long_it_takes() -> None:
    """A long changelog is read back; only when it stands still does time count."""
    moving = [(float(t), Observation(None, {}, started=t // 60)) for t in range(0, 3600, 3)]
    assert not verdicts(moving)
    stands = [(3600.0 + t, Observation(None, {}, started=59)) for t in range(0, 120, 3)]
    assert verdicts(moving + stands)[0] == 3540 + 102
