"""When to train; one file, since every rule gives way to others.

Pure functions from the journal to the requests and runs to publish. They keep no state between
calls, so a crash loses none.

- An alarm becomes a request, unless one about the same asset is open (debounce), or a run
  that has finished learned from enough outcomes after it. Its run is delayed until there are enough
  outcomes *of that asset* after the alarm to learn the new behaviour from and, like every automatic
  run, until the model's cool-down is over. Delays are counted in outcomes and so in event time; no
  decision depends on the wall clock.
- A run for drift that was rejected or failed is retried when its evidence has grown, because the
  detector, once reset, treats the new, worse level as normal and raises no further alarm. After
  `FAILURES` consecutive failures for the same alarm there are no more retries.
- A manual request runs as soon as there is any outcome.
- One run at a time. It answers all other requests of the model that are due when it starts.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from millrace.contracts.clock import event_time, to_ms
from millrace.contracts.events.drift_alert import DriftAlert
from millrace.contracts.events.training import FINISHED, TrainingRequest, TrainingRun
from millrace.contracts.ids import digest_of
from millrace.registry.state import Registry
from millrace.trainer.scheduling.journal import Journal, Progress
from millrace.trainer.settings import TrainerSettings

#: Consecutive failed runs for an alarm after which there are no more retries.
FAILURES: Final = 4

_DAY_MS = 86_400_000
#: Assets of this name stand for serving itself.
_NO_ASSET = "*"


@dataclass(frozen=True)
class Due:
    """A run that should start now.

    Attributes:
        request: The request that it answers first.
        answers: Ids of the other requests that it answers.
    """

    request: TrainingRequest
    answers: tuple[str, ...]

    @property
    def run_id(self) -> str:
        """The run's id, derived from the request."""
        return run_id(self.request)


def run_id(request: TrainingRequest) -> str:
    """Derive the id of the run that a request starts."""
    return "run-" + digest_of(request.model, request.id)


def new_requests(
    journal: Journal, registry: Registry, settings: TrainerSettings, at: datetime
) -> list[TrainingRequest]:
    """Derive the requests that are due and do not exist yet.

    Args:
        journal: The trainer's state.
        registry: Models; alarms of undeclared models are kept until these are declared.
        settings: Counts and ages.
        at: The wall clock, for the record only.
    """
    found: list[TrainingRequest] = []
    open_now = journal.open_requests()
    running = {run.model for run in journal.runs.values() if run.state == "started"}
    idle = [model for model in registry.models if model not in running]
    for alert in journal.alerts.values():
        if alert.model not in idle or _answered(alert, journal, settings):
            continue
        failed = _failures(alert.id, journal)
        if failed and not _may_retry(failed, alert.event_time, alert.asset, journal, settings):
            continue
        request = _drift_request(alert, at, len(failed))
        same = (request.model, request.asset)
        if request.id in journal.requests or any(
            (other.model, other.asset) == same and other.reason == "drift" for other in open_now
        ):
            continue
        found.append(request)
        open_now.append(request)
    for model in idle:
        progress = journal.progress.get(model)
        asked = [other for other in open_now if other.model == model]
        # A drift request may be delayed for long if its asset falls silent; it must not block
        # others.
        if progress is not None and all(other.reason == "drift" for other in asked):
            found.extend(
                request
                for request in _by_itself(model, progress, journal, settings, at)
                if request.id not in journal.requests and not (asked and request.reason == "drift")
            )
    return found


def drop_answered(journal: Journal, settings: TrainerSettings) -> None:
    """Drop the alarms that a run has answered, which is final."""
    done = [name for name, alert in journal.alerts.items() if _answered(alert, journal, settings)]
    for name in done:
        del journal.alerts[name]


def next_run(journal: Journal, registry: Registry, settings: TrainerSettings) -> Due | None:
    """Choose the next run, if none is running.

    Manual requests have priority, then the oldest trigger in event time.
    """
    ready = [
        request
        for request in journal.open_requests()
        if request.model in registry.models and missing(request, journal, settings) == 0
    ]
    if not ready:
        return None
    first = min(ready, key=lambda r: (r.reason != "request", r.event_time, r.id))
    together = [request for request in ready if request.model == first.model]
    # If a run was already published as waiting, that one starts and answers the others.
    lead = next((request for request in together if run_id(request) in journal.runs), first)
    return Due(lead, tuple(request.id for request in together if request.id != lead.id))


def waiting_runs(
    journal: Journal, registry: Registry, settings: TrainerSettings, at: datetime
) -> list[TrainingRun]:
    """Build the records of waiting runs, one for each model's oldest request."""
    found = []
    waited_for = {run.model for run in journal.runs.values() if run.state == "waiting"}
    for request in journal.open_requests():
        if request.model in waited_for:
            continue
        waited_for.add(request.model)
        found.append(
            TrainingRun(
                id=run_id(request),
                model=request.model,
                request=request,
                state="waiting",
                updated_at=at,
                detail=_why_waiting(request, journal, registry, settings),
            )
        )
    return found


def missing(request: TrainingRequest, journal: Journal, settings: TrainerSettings) -> int:
    """Count the outcomes that have to arrive before a request may run; 0 when it may."""
    progress = journal.progress.get(request.model, Progress())
    if request.reason == "request":
        return max(0, 1 - progress.count())
    since = journal.data_end_ms(request.model)
    lacking = [1 - progress.count()]
    if since is not None:
        lacking.append(settings.cooldown_outcomes - progress.count(since))
    if request.reason == "drift":
        after = progress.count(to_ms(request.event_time), _asset(request))
        lacking.append(settings.drift_outcomes - after)
    return max(0, *lacking)


def _asset(request: TrainingRequest) -> str | None:
    return None if request.asset in {None, _NO_ASSET} else request.asset


def _answered(alert: DriftAlert, journal: Journal, settings: TrainerSettings) -> bool:
    """Whether a finished run learned from enough outcomes after an alarm."""
    ends = [
        to_ms(run.trained_until)
        for run in journal.learned(alert.model)
        if run.trained_until is not None
    ]
    if not ends:
        return False
    progress = journal.progress.get(alert.model, Progress())
    asset = None if alert.asset == _NO_ASSET else alert.asset
    after_alarm = progress.count(to_ms(alert.event_time), asset)
    return after_alarm - progress.count(max(ends), asset) >= settings.drift_outcomes


def _failures(alert_id: str | None, journal: Journal) -> list[TrainingRun]:
    """List the failed runs for an alarm since the last one that came to a verdict."""
    asked = {r.id for r in journal.requests.values() if r.alert_id == alert_id}
    failed: list[TrainingRun] = []
    for run in sorted(journal.runs.values(), key=lambda run: run.updated_at):
        if run.request.alert_id != alert_id and not asked.intersection(run.answers):
            continue
        if run.state == "failed":
            failed.append(run)
        elif run.state in FINISHED:
            failed.clear()
    return failed


def _may_retry(
    failed: list[TrainingRun],
    event: datetime,
    asset: str | None,
    journal: Journal,
    settings: TrainerSettings,
) -> bool:
    """Whether a retry is left, and there is more evidence than at the last run."""
    then, now = _evidence(failed[-1], event, asset, journal)
    return len(failed) < FAILURES and _has_grown(then, now, settings)


def _evidence(
    run: TrainingRun, event: datetime, asset: str | None, journal: Journal
) -> tuple[int, int]:
    """Count the outcomes after an alarm that a finished run knew, and those known now."""
    progress = journal.progress.get(run.model, Progress())
    name = None if asset == _NO_ASSET else asset
    now = progress.count(to_ms(event), name)
    # A run that failed before it had data only records the state at its start.
    until = run.parameters.get("known_until", to_ms(event))
    if run.trained_until is not None:
        until = to_ms(run.trained_until)
    return max(0, now - progress.count(int(until), name)), now


def _has_grown(then: int, now: int, settings: TrainerSettings) -> bool:
    return settings.retry_growth > 0 and then < now and now >= settings.retry_growth * then


def _drift_request(alert: DriftAlert, at: datetime, failures: int) -> TrainingRequest:
    tries = ("after", failures) if failures else ()
    return TrainingRequest(
        id="request-" + digest_of(alert.model, "drift", alert.id, *tries),
        model=alert.model,
        reason="drift",
        detail=alert.detail,
        event_time=alert.event_time,
        requested_at=at,
        asset=alert.asset,
        alert_id=alert.id,
    )


def _by_itself(
    model: str, progress: Progress, journal: Journal, settings: TrainerSettings, at: datetime
) -> Iterator[TrainingRequest]:
    """Request a training without an alarm: the first, for new data, for age, or a retry."""
    runs = sum(run.state in FINISHED for run in journal.runs_of(model))
    name = _own_reason(model, progress, journal, settings)
    if name is not None:
        kind, detail = name
        yield TrainingRequest(
            id="request-" + digest_of(model, kind, "after", runs),
            model=model,
            reason="age" if kind == "age" else "new_data",
            detail=detail,
            event_time=event_time(progress.latest_ms),
            requested_at=at,
        )
    else:
        yield from _retry(model, journal, settings, at)


def _own_reason(
    model: str, progress: Progress, journal: Journal, settings: TrainerSettings
) -> tuple[str, str] | None:
    since = journal.data_end_ms(model)
    fresh = progress.count(since)
    if not journal.learned(model):
        if settings.first_outcomes and fresh >= settings.first_outcomes:
            return "first", f"{fresh} outcomes, and no trained model yet"
        return None
    if since is None:
        return None
    if settings.new_outcomes and fresh >= settings.new_outcomes:
        return "new_data", f"{fresh} outcomes since the last run's data"
    days = (progress.latest_ms - since) / _DAY_MS
    if settings.max_age_days and days >= settings.max_age_days:
        return "age", f"the last run's data ends {days:.1f} days ago"
    return None


def _retry(
    model: str, journal: Journal, settings: TrainerSettings, at: datetime
) -> Iterator[TrainingRequest]:
    """Request a retry after a drift run was rejected or failed, once its evidence has grown."""
    finished = [run for run in journal.runs_of(model) if run.state in FINISHED]
    if not finished:
        return
    last = max(finished, key=lambda run: run.updated_at)
    request = last.request
    if last.state == "approved" or request.reason != "drift":
        return
    if last.state == "failed" and len(_failures(request.alert_id, journal)) >= FAILURES:
        return
    then, now = _evidence(last, request.event_time, request.asset, journal)
    if _has_grown(then, now, settings):
        yield TrainingRequest(
            id="request-" + digest_of(model, "retry", "after", len(finished)),
            model=model,
            reason="drift",
            detail=f"{last.id} {last.state} on {then} outcomes after the alarm; there are {now}",
            event_time=request.event_time,
            requested_at=at,
            asset=request.asset,
            alert_id=request.alert_id,
        )


def _why_waiting(
    request: TrainingRequest, journal: Journal, registry: Registry, settings: TrainerSettings
) -> str:
    if request.model not in registry.models:
        known = ", ".join(sorted(registry.models)) or "none"
        return f"there is no model {request.model} yet (known: {known})"
    lacking = missing(request, journal, settings)
    if lacking:
        return f"waits for {lacking} more outcomes"
    return "waits for its turn"
