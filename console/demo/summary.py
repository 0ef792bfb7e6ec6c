"""Builds the report from evidence, scenario and the runner's results."""

from __future__ import annotations

import os
import platform
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

import psutil

from millrace.console.demo.accuracy import Judged, by_month, summarize
from millrace.console.demo.report.report import (
    DriftLine,
    ErrorSection,
    HoldoutErrors,
    LatencySection,
    Machine,
    ModelLine,
    MonthError,
    PartError,
    Report,
    Speeds,
    Swap,
    WindowCounts,
)
from millrace.console.demo.runner import RunStats
from millrace.console.demo.scenario import KnownPart, Scenario
from millrace.contracts.clock import event_time, to_ms
from millrace.contracts.events.training import FINISHED, TrainingRequest, TrainingRun
from millrace.registry.state import Registry
from millrace.verification.checker import count_windows, find_mixing
from millrace.verification.evidence import Evidence, SentWindow
from millrace.verification.latency import Arrival, around, percentiles
from millrace.verification.swaps import SwapTimes, swaps_of

_GIB: Final = float(1 << 30)
_CONCEPT: Final = "concept_drift"


@dataclass(frozen=True)
class Measured:
    """Measurements that are not in the topics.

    Attributes:
        started_at: When the demonstration began.
        seconds: Its duration.
        rows: Judged forecasts.
        arrivals: Latency of every replayed prediction from the edge to a consumer.
        memory_mib: Peak of each program.
        memory_total_mib: Peak of their sum.
        memory_measure: The measure of memory.
    """

    started_at: datetime
    seconds: float
    rows: Sequence[Judged]
    arrivals: Sequence[Arrival]
    memory_mib: dict[str, float]
    memory_total_mib: float
    memory_measure: str


def build_report(
    scenario: Scenario,
    namespace: str,
    evidence: Evidence,
    performance: RunStats,
    measured: Measured,
) -> Report:
    """Build the report.

    Args:
        scenario: The scenario.
        namespace: Namespace of the run's topics.
        evidence: Content of the topics.
        performance: The runner's results.
        measured: Measurements that are not in the topics.
    """
    registry = fold(evidence)
    name = scenario.spec.name
    mixing = find_mixing(evidence, registry, name)
    counts = count_windows(
        scenario.windows, evidence.windows, evidence.predictions, evidence.refusals, scenario.spec
    )
    runs = latest_runs(evidence.runs, name)
    plan = scenario.plan
    return Report(
        dataset=name,
        title=scenario.title,
        namespace=namespace,
        started_at=measured.started_at,
        seconds=round(measured.seconds, 1),
        replay_from=scenario.story.train_until,
        replay_until=scenario.story.replay_until,
        windows=WindowCounts(
            expected=counts.expected,
            sent=counts.sent,
            valid=counts.valid,
            rejected=counts.rejected,
            predicted=counts.predicted,
            missing=counts.missing,
            duplicated=counts.duplicated,
            mixed=mixing.total,
            fallbacks=mixing.fallbacks,
            altered=counts.altered,
            unexpected=counts.unexpected,
            wrongly_rejected=counts.wrongly_rejected,
            reasons=counts.reasons,
            examples=list(mixing.examples),
        ),
        models=[_model_line(run) for run in runs if run.verdict is not None],
        drift=_drift_lines(evidence, runs, name),
        swaps=[
            _swap(swap, mixing.by_epoch.get(swap.epoch, 0), measured.arrivals, evidence.windows)
            for swap in swaps_of(evidence.model_events, evidence.ledger, name)
        ],
        error=_errors(measured.rows, performance.frozen_version, scenario.known),
        latency=_latency(measured.arrivals),
        speed=Speeds(
            replay=round(plan.speed, 1),
            while_training=round(plan.training_speed, 1),
            max_idle_seconds=plan.max_idle_seconds,
            slowed_seconds=round(performance.slowed_seconds, 1),
            windows_per_second=round(plan.replayed / max(performance.replay_seconds, 1e-9), 1),
        ),
        memory_mib=measured.memory_mib,
        memory_total_mib=measured.memory_total_mib,
        memory_measure=measured.memory_measure,
        kills=performance.kills,
        notes=[*performance.notes, *_failures(runs), *_unreadable(evidence)],
        machine=this_machine(),
    )


def fold(evidence: Evidence) -> Registry:
    """The registry, folded from the events."""
    registry = Registry()
    for event in evidence.model_events:
        registry.apply(event)
    return registry


def latest_runs(records: Iterable[TrainingRun], model: str) -> list[TrainingRun]:
    """The last record of each run of a model, in the order in which they ended."""
    latest = {run.id: run for run in records if run.model == model}
    return sorted(latest.values(), key=lambda run: run.updated_at)


def _model_line(run: TrainingRun) -> ModelLine:
    holdout = run.holdout
    return ModelLine(
        version=run.version,
        trained_from=run.trained_from,
        trained_until=run.trained_until,
        verdict=run.verdict,
        reason=run.detail,
        holdout_error=(
            HoldoutErrors(holdout.challenger, holdout.champion, holdout.persistence)
            if holdout is not None
            else None
        ),
        requested_because=f"{run.request.reason}: {run.request.detail}",
        parent=run.parent,
        windows=run.windows,
        fit_seconds=run.seconds,
    )


def _drift_lines(evidence: Evidence, runs: Sequence[TrainingRun], model: str) -> list[DriftLine]:
    reasons = alerts_answered(evidence.requests, runs)
    unique = {alert.id: alert for alert in evidence.alerts if alert.model == model}
    return [
        DriftLine(
            asset=alert.asset,
            signal=alert.signal,
            detector=alert.detector,
            sensor=alert.sensor,
            event_time=alert.event_time,
            triggered_training=alert.id in reasons,
            asks_training=alert.asks_training,
            version=alert.version,
            detail=alert.detail,
        )
        for alert in sorted(unique.values(), key=lambda alert: alert.event_time)
    ]


def alerts_answered(requests: Iterable[TrainingRequest], runs: Iterable[TrainingRun]) -> set[str]:
    """Ids of the alerts that a run answered: the one that started it, and others."""
    begun = [run for run in runs if run.state != "waiting"]
    answered = {request for run in begun for request in run.answers}
    asked = [*(run.request for run in begun), *(r for r in requests if r.id in answered)]
    return {request.alert_id for request in asked if request.alert_id is not None}


def _swap(
    swap: SwapTimes, mixed: int, arrivals: Sequence[Arrival], sent: Sequence[SentWindow]
) -> Swap:
    ended_at = swap.stamped_at or swap.activated_at
    latency = around(arrivals, to_ms(swap.begun_at), to_ms(ended_at))
    return Swap(
        version=swap.version,
        epoch=swap.epoch,
        kind=swap.kind,
        partitions=swap.partitions,
        mixed=mixed,
        activation_seconds=swap.activation_seconds,
        activated_to_stamped_seconds=swap.stamping_seconds,
        p50_latency_ms_before=latency.before.p50_ms,
        p99_latency_ms_before=latency.before.p99_ms,
        p50_latency_ms_during=latency.during.p50_ms,
        p99_latency_ms_during=latency.during.p99_ms,
        windows_before=latency.before.windows,
        windows_during=latency.during.windows,
        approved_at=swap.approved_at,
        activated_at=swap.activated_at,
        stamped_at=swap.stamped_at,
        event_time=first_event_time(swap, sent),
    )


def first_event_time(swap: SwapTimes, sent: Iterable[SentWindow]) -> datetime | None:
    """Event time of the first forecast after a swap's fences; None if there is none."""
    ends = [
        record.window.end_ms
        for record in sent
        if record.window is not None
        and record.partition in swap.partitions
        and record.offset >= swap.partitions[record.partition]
    ]
    return event_time(min(ends)) if ends else None


def _errors(
    rows: Sequence[Judged], frozen_version: int | None, known: Sequence[KnownPart]
) -> ErrorSection:
    whole = summarize(rows)
    return ErrorSection(
        live=whole.live,
        frozen=whole.frozen,
        persistence=whole.persistence,
        windows=whole.windows,
        frozen_version=frozen_version,
        by_month=[
            MonthError(month, e.live, e.frozen, e.persistence, e.windows)
            for month, e in by_month(rows).items()
        ],
        drifted=[_part(part, rows) for part in known if part.kind == _CONCEPT],
    )


def _part(part: KnownPart, rows: Sequence[Judged]) -> PartError:
    concerned = [row for row in rows if row.asset in part.assets]
    starts, ends = to_ms(part.starts), to_ms(part.ends)
    inside = summarize(r for r in concerned if starts <= r.interval_start_ms < ends)
    before = summarize(r for r in concerned if r.interval_start_ms < starts)
    return PartError(
        part.detail,
        list(part.assets),
        part.starts,
        part.ends,
        inside.live,
        inside.frozen,
        inside.persistence,
        inside.windows,
        before.frozen,
    )


def _latency(arrivals: Sequence[Arrival]) -> LatencySection:
    all_of_them = percentiles(arrivals)
    return LatencySection(all_of_them.p50_ms, all_of_them.p99_ms)


def _failures(runs: Sequence[TrainingRun]) -> list[str]:
    return [
        f"the run asked for because of {run.request.detail!r} failed: {run.detail}"
        for run in runs
        if run.state in FINISHED and run.verdict is None
    ]


def _unreadable(evidence: Evidence) -> list[str]:
    return [f"{n} records of {topic} are unreadable" for topic, n in evidence.unreadable.items()]


def this_machine() -> Machine:
    """The machine that this runs on."""
    return Machine(
        system=f"{platform.system()} {platform.release()}",
        processor=platform.machine(),
        cores=os.cpu_count() or 1,
        memory_gib=round(psutil.virtual_memory().total / _GIB, 1),
        python=platform.python_version(),
    )
