"""What the trainer remembers from the topics."""

from datetime import UTC, datetime

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from millrace.contracts.events.training import TrainingRequest, TrainingRun
from millrace.contracts.source import Source
from millrace.contracts.topics import OUTCOMES, SENSOR_WINDOWS
from millrace.trainer.scheduling import journal as journal_module
from millrace.trainer.scheduling.journal import Journal, OutcomeMark, Progress

T0 = datetime(2026, 1, 1, tzinfo=UTC)
REQUEST = TrainingRequest("r", "pumps", "request", "please", T0, T0)
RUN = TrainingRun("run", "pumps", REQUEST, "waiting", T0)


def test_a_record_never_takes_a_run_back() -> None:
    """What the trainer has published and folded is not undone by reading it again."""
    journal = Journal()
    started = msgspec.structs.replace(RUN, state="started", version=1)
    pinned = msgspec.structs.replace(started, manifest="m")
    done = msgspec.structs.replace(pinned, state="approved")
    for record in (RUN, started, pinned, done, RUN, started, pinned):
        journal.see_run(record)
    assert journal.runs == {"run": done}
    assert journal.started() is None


def test_ends_follow_the_outcomes_and_their_windows() -> None:
    """A run that starts now reads up to the last known outcome, and the last window of any."""
    journal = Journal()
    for offset, window in ((0, 7), (1, 3)):
        journal.see_outcome(OutcomeMark("a", "pumps", T0, Source("w", 2, window, 0)), 1, offset)
    assert journal.ends == {SENSOR_WINDOWS.name: {2: 8}, OUTCOMES.name: {1: 2}}


def test_a_request_that_was_read_twice_is_one() -> None:
    """The first reading stands."""
    journal = Journal()
    journal.see_request(REQUEST)
    journal.see_request(msgspec.structs.replace(REQUEST, detail="again"))
    assert journal.requests == {"r": REQUEST}


def test_outcomes_are_counted_by_asset_and_time() -> None:
    """After a time means strictly after it."""
    progress = Progress()
    for minute in range(10):
        progress.add("a" if minute % 2 else "b", minute)
    assert progress.count() == 10
    assert progress.count(5) == 4
    assert progress.count(5, "a") == 2
    assert progress.count(asset="b") == 5
    assert progress.count(0, "unknown") == 0
    assert progress.latest_ms == 9


@given(st.lists(st.tuples(st.integers(0, 30), st.sampled_from("ab")), max_size=60))
def test_only_the_latest_outcomes_are_kept(added: list[tuple[int, str]]) -> None:
    """In any order of arrival, counts are right up to the number that is kept."""
    progress = Progress()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(journal_module, "KEPT", 5)
        for time_ms, asset in added:
            progress.add(asset, time_ms)
    assert progress.count() == len(added)
    assert all(len(times) < 10 for times in progress.times.values())
    for after in range(-1, 31):
        right = sum(time_ms > after and asset == "a" for time_ms, asset in added)
        counted = progress.count(after, "a")
        assert counted == right or 5 <= counted < right


def test_a_run_and_all_that_it_answers_are_answered_from_its_start() -> None:
    """While it is under way nothing else is started for the same reasons."""
    journal = Journal()
    journal.see_run(RUN)
    assert journal.answered() == set()
    journal.see_run(msgspec.structs.replace(RUN, state="started", answers=("other",)))
    assert journal.answered() == {"r", "other"}
