"""When alarms, ages, new data and people's requests become runs."""

from datetime import UTC, datetime, timedelta

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from millrace.contracts.events.drift_alert import DriftAlert
from millrace.contracts.events.training import RunState, TrainingRequest, TrainingRun
from millrace.contracts.model_spec import ModelSpec
from millrace.contracts.source import Source
from millrace.registry.decisions import declare
from millrace.registry.state import Registry
from millrace.trainer.scheduling.journal import Journal, OutcomeMark
from millrace.trainer.scheduling.triggers import (
    FAILURES,
    drop_answered,
    missing,
    new_requests,
    next_run,
    run_id,
    waiting_runs,
)
from millrace.trainer.settings import TrainerSettings

T0 = datetime(2026, 1, 1, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
SPEC = ModelSpec("pumps", ("flow", "heat"), 60.0, 4, 2, 2)
SETTINGS = TrainerSettings(
    first_outcomes=0,
    drift_outcomes=10,
    cooldown_outcomes=5,
    new_outcomes=0,
    max_age_days=0,
    retry_growth=2.0,
)


def settings(**changes: float) -> TrainerSettings:
    """Settings in which only what a test names is on."""
    return SETTINGS.model_copy(update=changes)


def registry() -> Registry:
    """One declared model."""
    found = Registry()
    for event in declare(SPEC, T0):
        found.apply(event)
    return found


def outcomes(journal: Journal, count: int, *, since: int = 0, asset: str = "a") -> None:
    """Fold outcomes, one per minute of event time."""
    for minute in range(since, since + count):
        mark = OutcomeMark(asset, "pumps", T0 + minute * MINUTE, Source("w", 0, minute, 0))
        journal.see_outcome(mark, 0, minute)


def alert(minute: int, *, asset: str = "a", name: str | None = None) -> DriftAlert:
    """An alarm that asks for a training."""
    return DriftAlert(
        id=name or f"alert-{asset}-{minute}",
        asset=asset,
        model="pumps",
        version=1,
        signal="error",
        sensor=None,
        detector="page-hinkley",
        statistic=1.0,
        threshold=0.5,
        severity="critical",
        asks_training=True,
        event_time=T0 + minute * MINUTE,
        evidence_from=T0,
        samples=100,
        source=None,
        detail="it drifted",
    )


def request(name: str = "please", minute: int = 0) -> TrainingRequest:
    """A person's request."""
    when = T0 + minute * MINUTE
    return TrainingRequest(name, "pumps", "request", "please", when, when)


def finished(
    journal: Journal,
    asked: TrainingRequest,
    state: RunState,
    until: int | None,
    answers: tuple[str, ...] = (),
) -> TrainingRun:
    """Fold a finished run whose data ends at a minute."""
    run = TrainingRun(
        run_id(asked),
        "pumps",
        asked,
        state,
        T0 + len(journal.runs) * MINUTE,
        answers=answers,
        trained_until=None if until is None else T0 + until * MINUTE,
    )
    journal.see_run(run)
    return run


def ask(journal: Journal, limits: TrainerSettings = SETTINGS) -> list[TrainingRequest]:
    """Derive requests and fold them, as the trainer does."""
    found = new_requests(journal, registry(), limits, T0)
    for made in found:
        journal.see_request(made)
    return found


def test_a_run_waits_for_enough_outcomes_of_the_drifted_asset() -> None:
    """Outcomes before the alarm, or of other assets, do not make up for missing new ones."""
    journal = Journal()
    outcomes(journal, 50)
    journal.see_alert(alert(49))
    (asked,) = ask(journal)
    outcomes(journal, 30, since=50, asset="b")
    outcomes(journal, 9, since=50)
    assert missing(asked, journal, SETTINGS) == 1
    assert next_run(journal, registry(), SETTINGS) is None
    assert waiting_runs(journal, registry(), SETTINGS, T0)[0].detail == (
        "waits for 1 more outcomes"
    )
    outcomes(journal, 1, since=59)
    due = next_run(journal, registry(), SETTINGS)
    assert due is not None
    assert due.request == asked


def test_alarms_about_an_asset_are_debounced() -> None:
    """While a request about an asset is open, more alarms about it ask for nothing."""
    journal = Journal()
    outcomes(journal, 20)
    for minute in (10, 11, 12):
        journal.see_alert(alert(minute))
    journal.see_alert(alert(11, asset="b"))
    assert [asked.asset for asked in ask(journal)] == ["a", "b"]
    assert ask(journal) == []


def test_an_alarm_that_a_run_has_learned_from_asks_for_nothing() -> None:
    """A finished run with enough outcomes after an alarm answers it; one with too few does not."""
    journal = Journal()
    outcomes(journal, 40)
    journal.see_request(request())
    finished(journal, request(), "approved", until=39)
    journal.see_alert(alert(20))
    assert ask(journal) == []
    journal.see_alert(alert(35))
    assert [asked.event_time for asked in ask(journal)] == [T0 + 35 * MINUTE]


def test_only_alarms_that_are_answered_are_forgotten() -> None:
    """Read again, such an alarm asks for nothing and is forgotten again."""
    journal = Journal()
    outcomes(journal, 40)
    finished(journal, request(), "approved", until=39)
    for _ in range(2):
        for minute in (20, 35):
            journal.see_alert(alert(minute))
        drop_answered(journal, SETTINGS)
        assert list(journal.alerts) == ["alert-a-35"]


def test_alarms_during_a_run_wait_for_its_end() -> None:
    """Whether a run answers an alarm is known only when it has finished."""
    journal = Journal()
    outcomes(journal, 40)
    asked = request()
    journal.see_request(asked)
    journal.see_run(TrainingRun(run_id(asked), "pumps", asked, "started", T0))
    journal.see_alert(alert(20))
    assert ask(journal, settings(first_outcomes=1, max_age_days=0.001)) == []


def test_cooldown_is_counted_in_outcomes_since_the_last_run() -> None:
    """A run that nobody asked for waits for new data; a person's request does not."""
    journal = Journal()
    outcomes(journal, 40)
    finished(journal, request(), "rejected", until=39)
    journal.see_alert(alert(38))
    (asked,) = ask(journal, limits := settings(drift_outcomes=2, cooldown_outcomes=5))
    assert missing(asked, journal, limits) == 5
    by_hand = request("again", 39)
    journal.see_request(by_hand)
    due = next_run(journal, registry(), limits)
    assert due is not None
    assert (due.request, due.answers) == (by_hand, ())


def test_people_go_first_and_everything_due_is_answered_at_once() -> None:
    """One run answers all requests of its model that are due."""
    journal = Journal()
    outcomes(journal, 40)
    journal.see_alert(alert(5))
    (asked,) = ask(journal)
    journal.see_request(request("please", 39))
    due = next_run(journal, registry(), SETTINGS)
    assert due is not None
    assert (due.request.id, due.answers) == ("please", (asked.id,))
    finished(journal, due.request, "approved", until=39, answers=due.answers)
    assert next_run(journal, registry(), SETTINGS) is None
    assert waiting_runs(journal, registry(), SETTINGS, T0) == []


def test_the_run_that_people_see_waiting_is_the_one_that_starts() -> None:
    """A waiting run is never left behind by one that answers its request."""
    journal = Journal()
    outcomes(journal, 10)
    journal.see_alert(alert(5))
    ask(journal)
    (waiting,) = waiting_runs(journal, registry(), SETTINGS, T0)
    journal.see_run(waiting)
    outcomes(journal, 10, since=10)
    journal.see_request(request("please", 19))
    due = next_run(journal, registry(), SETTINGS)
    assert due is not None
    assert (due.run_id, due.answers) == (waiting.id, ("please",))


def test_a_request_for_a_model_that_is_not_there_waits_and_says_so() -> None:
    """It names the models that there are, and runs nothing."""
    journal = Journal()
    asked = msgspec.structs.replace(request(), model="pump")
    journal.see_request(asked)
    (waiting,) = waiting_runs(journal, registry(), SETTINGS, T0)
    assert waiting.detail == "there is no model pump yet (known: pumps)"
    assert next_run(journal, registry(), SETTINGS) is None


def test_a_request_without_any_outcome_waits() -> None:
    """A person's request runs as soon as there is one outcome."""
    journal = Journal()
    journal.see_request(request())
    assert next_run(journal, registry(), SETTINGS) is None
    outcomes(journal, 1)
    assert next_run(journal, registry(), SETTINGS) is not None


def test_first_training_and_its_failure() -> None:
    """A model that was never trained is, once there is enough; after a failure once more."""
    journal, limits = Journal(), settings(first_outcomes=20)
    outcomes(journal, 19)
    assert ask(journal, limits) == []
    outcomes(journal, 1, since=19)
    (asked,) = ask(journal, limits)
    assert (asked.reason, asked.event_time) == ("new_data", T0 + 19 * MINUTE)
    finished(journal, asked, "failed", until=None)
    assert ask(journal, limits) == []
    outcomes(journal, 20, since=20)
    (again,) = ask(journal, limits)
    assert again.id != asked.id


def test_the_moment_of_a_persons_request_is_no_event_time() -> None:
    """A request made today about data of years ago does not stop the model's clock."""
    journal, limits = Journal(), settings(max_age_days=1 / 24)
    outcomes(journal, 40)
    today = request("today", minute=5_000_000)
    finished(journal, today, "failed", until=None)
    assert journal.data_end_ms("pumps") is None
    finished(journal, request("later today", minute=5_000_001), "approved", until=39)
    outcomes(journal, 70, since=40)
    assert [asked.reason for asked in ask(journal, limits)] == ["age"]


def test_a_failed_run_has_learned_nothing() -> None:
    """An alarm within the data of a run that failed is still open; so is the first training."""
    journal, limits = Journal(), settings(first_outcomes=20)
    outcomes(journal, 60)
    finished(journal, request(), "failed", until=39)
    journal.see_alert(alert(20))
    assert [asked.reason for asked in ask(journal, limits)] == ["drift", "new_data"]


def test_age_is_event_time_since_the_last_run() -> None:
    """A model whose data is old enough is trained again, once per run."""
    journal, limits = Journal(), settings(max_age_days=1 / 24)
    outcomes(journal, 40)
    finished(journal, request(), "approved", until=39)
    outcomes(journal, 59, since=40)
    assert ask(journal, limits) == []
    outcomes(journal, 1, since=99)
    (asked,) = ask(journal, limits)
    assert asked.reason == "age"
    assert ask(journal, limits) == []
    finished(journal, asked, "rejected", until=99)
    assert ask(journal, limits) == []


def test_new_data_is_a_reason_when_asked_for() -> None:
    """Outcomes since the last run's data are counted."""
    journal, limits = Journal(), settings(new_outcomes=10)
    outcomes(journal, 40)
    finished(journal, request(), "approved", until=30)
    assert ask(journal, limits) == []
    outcomes(journal, 1, since=40)
    assert [asked.reason for asked in ask(journal, limits)] == ["new_data"]


def test_a_silent_drifted_asset_does_not_hold_up_the_rest() -> None:
    """While a drift request waits for its asset, a model's age still counts."""
    journal, limits = Journal(), settings(max_age_days=1 / 24)
    outcomes(journal, 40)
    finished(journal, request(), "approved", until=39)
    journal.see_alert(alert(39, asset="silent"))
    assert len(ask(journal, limits)) == 1
    outcomes(journal, 80, since=40)
    assert [asked.reason for asked in ask(journal, limits)] == ["age"]


def test_a_rejected_answer_to_a_drift_is_tried_again_when_its_evidence_has_doubled() -> None:
    """The detector stays silent after its reset, so the trainer keeps the alarm in mind."""
    journal = Journal()
    outcomes(journal, 20)
    journal.see_alert(alert(9))
    (asked,) = ask(journal)
    finished(journal, asked, "rejected", until=19)
    outcomes(journal, 9, since=20)
    assert ask(journal) == []
    outcomes(journal, 1, since=29)
    (again,) = ask(journal)
    assert (again.reason, again.alert_id, again.event_time) == (
        "drift",
        asked.alert_id,
        asked.event_time,
    )
    assert missing(again, journal, SETTINGS) == 0
    finished(journal, again, "failed", until=29)
    assert ask(journal) == []
    outcomes(journal, 20, since=30)
    assert [asked.alert_id for asked in ask(journal)] == [again.alert_id]


@pytest.mark.parametrize("lead", ["drift", "person"])
def test_an_alarm_whose_run_failed_is_tried_again_but_not_for_ever(lead: str) -> None:
    """Each time with twice the evidence; the last of four failures ends it."""
    journal = Journal()
    journal.see_alert(alert(0))
    (asked,) = ask(journal)
    known = 11
    outcomes(journal, known)
    for tried in range(FAILURES):
        by_hand = request(f"by hand {tried}")
        led, answers = (asked, ()) if lead == "drift" else (by_hand, (asked.id,))
        finished(journal, led, "failed", until=known - 1, answers=answers)
        more = known - 1
        outcomes(journal, more - 1, since=known)
        assert ask(journal) == []
        outcomes(journal, 1, since=known + more - 1)
        known += more
        again = ask(journal)
        if tried < FAILURES - 1:
            ((asked),) = again
            assert asked.alert_id == alert(0).id
        else:
            assert again == []


def test_a_failure_before_there_was_data_waits_for_what_it_did_not_know() -> None:
    """The run's record says up to when outcomes were known when it started."""
    journal = Journal()
    outcomes(journal, 21)
    journal.see_alert(alert(0))
    (asked,) = ask(journal)
    run = finished(journal, asked, "failed", until=None)
    known = {"known_until": int((T0 + 20 * MINUTE).timestamp() * 1000)}
    journal.see_run(msgspec.structs.replace(run, parameters=known))
    outcomes(journal, 19, since=21)
    assert ask(journal) == []
    outcomes(journal, 1, since=40)
    assert len(ask(journal)) == 1


def test_runs_and_requests_have_deterministic_ids() -> None:
    """Two trainers that read the same topics ask for the same and call it the same."""
    first, second = Journal(), Journal()
    for journal in (first, second):
        outcomes(journal, 40)
        journal.see_alert(alert(5))
    assert [asked.id for asked in ask(first)] == [asked.id for asked in ask(second)]
    assert next_run(first, registry(), SETTINGS) == next_run(second, registry(), SETTINGS)


events = st.lists(
    st.one_of(
        st.tuples(st.just("alert"), st.integers(0, 99), st.sampled_from("ab")),
        st.tuples(st.just("outcomes"), st.integers(1, 30), st.sampled_from("ab")),
        st.tuples(st.just("end"), st.sampled_from(["approved", "rejected", "failed"]), st.just("")),
        st.tuples(st.just("person"), st.integers(0, 99), st.just("")),
    ),
    max_size=40,
)


@given(events)
def test_every_request_ends_and_nothing_is_asked_twice(story: list[tuple[str, int, str]]) -> None:
    """Whatever happens, ids are unique, deciding again decides nothing, and all is answered."""
    journal, models = Journal(), registry()
    minute, people = 0, 0
    limits = replace_all(SETTINGS)
    for kind, value, asset in story:
        if kind == "alert":
            journal.see_alert(alert(value, asset=asset))
        elif kind == "outcomes":
            outcomes(journal, value, since=minute, asset=asset)
            minute += value
        elif kind == "person":
            people += 1
            journal.see_request(request(f"person-{people}", value))
        elif (due := next_run(journal, models, limits)) is not None:
            state: RunState = value  # type: ignore[assignment]
            finished(
                journal,
                due.request,
                state,
                None if state == "failed" else max(minute - 1, 0),
                due.answers,
            )
            assert due.request.id in journal.answered()
        before = set(journal.requests)
        asked = ask(journal, limits)
        assert not before & {one.id for one in asked}
        assert ask(journal, limits) == []
        for run in waiting_runs(journal, models, limits, T0):
            journal.see_run(run)
    while (due := next_run(journal, models, limits)) is not None:
        finished(journal, due.request, "approved", max(minute - 1, 0), due.answers)
    left = [run for run in journal.runs.values() if run.state == "waiting"]
    assert all(missing(run.request, journal, limits) > 0 for run in left)


def replace_all(limits: TrainerSettings) -> TrainerSettings:
    """All reasons on."""
    return limits.model_copy(
        update={"first_outcomes": 20, "new_outcomes": 40, "max_age_days": 0.05}
    )
