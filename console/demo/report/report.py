"""Report of a demonstration: `report.json`, typed.

Times are wall-clock UTC where they end in ``_at``, else event time; errors are in standard
deviations of the first training stretch (see `console.demo.accuracy`).
"""

from __future__ import annotations

from datetime import datetime

import msgspec


class WindowCounts(msgspec.Struct, frozen=True, kw_only=True):
    """The checker's counts of windows (see `verification.checker`)."""

    expected: int
    sent: int
    valid: int
    rejected: int
    predicted: int
    missing: int
    duplicated: int
    mixed: int
    fallbacks: int
    altered: int
    unexpected: int
    wrongly_rejected: int
    reasons: dict[str, int]
    examples: list[str] = []


class HoldoutErrors(msgspec.Struct, frozen=True):
    """Errors on the gate's hold-out, in scales of the challenger's normaliser."""

    challenger: float
    champion: float
    persistence: float


class ModelLine(msgspec.Struct, frozen=True, kw_only=True):
    """A trained version and the gate's verdict.

    Attributes:
        version: Its number.
        trained_from: Event time of the first window it learned from.
        trained_until: Event time of the end of the last one.
        verdict: ``approved`` or ``rejected``.
        reason: The gate's reason.
        holdout_error: Errors on the hold-out.
        requested_because: Why the run was started.
        parent: Version it was warm-started from.
        windows: Number of windows it learned from.
        fit_seconds: Wall time of the fit.
    """

    version: int | None
    trained_from: datetime | None
    trained_until: datetime | None
    verdict: str | None
    reason: str
    holdout_error: HoldoutErrors | None
    requested_because: str
    parent: int | None
    windows: int | None
    fit_seconds: float | None


class DriftLine(msgspec.Struct, frozen=True, kw_only=True):
    """An alert.

    Attributes:
        asset: The machine.
        signal: ``input``, ``error``, ``skill`` or ``serving``.
        detector: The detector.
        sensor: The sensor, for ``input``.
        event_time: Event time at the alarm.
        triggered_training: Whether a run was started because of it.
        asks_training: Whether it asked for one.
        version: Version that served.
        detail: Description.
    """

    asset: str
    signal: str
    detector: str
    sensor: str | None
    event_time: datetime
    triggered_training: bool
    asks_training: bool
    version: int
    detail: str


class Swap(msgspec.Struct, frozen=True, kw_only=True):
    """A change of the version that serves.

    Attributes:
        version: The new one.
        epoch: Serving epoch that began.
        kind: ``activated`` or ``rolled_back``.
        partitions: First offset that it applies to, by partition.
        mixed: Predictions and normalised windows of this epoch with a wrong version or unit.
        activation_seconds: From the approval's publication until the last partition was
            stamped; from the activation for a roll-back.
        activated_to_stamped_seconds: From the activation until then.
        p50_latency_ms_before: Median, edge to prediction, in the half minute before the
            approval.
        p99_latency_ms_before: 99th percentile of the same.
        p50_latency_ms_during: Median while the swap was going on.
        p99_latency_ms_during: 99th percentile of the same.
        windows_before: Number of predictions before, for these percentiles.
        windows_during: Number of predictions during the swap.
        approved_at: When the gate approved it.
        activated_at: When it was activated.
        stamped_at: When the last partition was stamped.
        event_time: Event time from which windows were forecast by it.
    """

    version: int
    epoch: int
    kind: str
    partitions: dict[int, int]
    mixed: int
    activation_seconds: float | None
    activated_to_stamped_seconds: float | None
    p50_latency_ms_before: float | None
    p99_latency_ms_before: float | None
    p50_latency_ms_during: float | None
    p99_latency_ms_during: float | None
    windows_before: int
    windows_during: int
    approved_at: datetime | None
    activated_at: datetime
    stamped_at: datetime | None
    event_time: datetime | None


class MonthError(msgspec.Struct, frozen=True):
    """Errors of the forecasts whose interval begins in a month."""

    month: str
    live: float | None
    frozen: float | None
    persistence: float | None
    windows: int


class PartError(msgspec.Struct, frozen=True):
    """Errors over a known part of a simulated scenario."""

    what: str
    assets: list[str]
    start: datetime
    end: datetime
    live: float | None
    frozen: float | None
    persistence: float | None
    windows: int
    frozen_before: float | None


class ErrorSection(msgspec.Struct, frozen=True):
    """Errors over all replayed forecasts that have their truth."""

    live: float | None
    frozen: float | None
    persistence: float | None
    windows: int
    frozen_version: int | None
    by_month: list[MonthError]
    drifted: list[PartError] = []


class Speeds(msgspec.Struct, frozen=True):
    """How recorded time was compressed.

    Attributes:
        replay: Recorded seconds per second of the replay.
        while_training: The same while a training run was in progress.
        max_idle_seconds: Longest gap; longer ones of the recording were cut to it.
        slowed_seconds: Wall time for which a training run slowed the replay.
        windows_per_second: Of the whole replay, on average.
    """

    replay: float
    while_training: float
    max_idle_seconds: float
    slowed_seconds: float | None
    windows_per_second: float


class KillLine(msgspec.Struct, frozen=True):
    """A program that was killed on purpose.

    Attributes:
        program: Its name.
        at: Share of the replay that was predicted by then.
        pid: The process that was killed.
        killed_at: When.
        back_seconds: Seconds until the process manager had it ready again.
    """

    program: str
    at: float
    pid: int
    killed_at: datetime
    back_seconds: float | None


class Machine(msgspec.Struct, frozen=True):
    """The machine of the run."""

    system: str
    processor: str
    cores: int
    memory_gib: float
    python: str


class LatencySection(msgspec.Struct, frozen=True):
    """Edge to prediction over the whole replay, milliseconds."""

    p50_ms: float | None
    p99_ms: float | None


class ReplayCounts(msgspec.Struct, frozen=True):
    """The whole run replayed as served, and compared with its predictions.

    Attributes:
        equal: Predictions that are equal, bit for bit.
        different: Predictions that differ.
        missing: Windows that only the replay predicts.
        extra: Windows that only the run predicted.
        seconds: Wall time of the replay.
    """

    equal: int
    different: int
    missing: int
    extra: int
    seconds: float


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """The whole report."""

    dataset: str
    title: str
    namespace: str
    started_at: datetime
    seconds: float
    replay_from: datetime
    replay_until: datetime
    windows: WindowCounts
    replayed: ReplayCounts | None = None
    models: list[ModelLine]
    drift: list[DriftLine]
    swaps: list[Swap]
    error: ErrorSection
    latency: LatencySection
    speed: Speeds
    memory_mib: dict[str, float]
    memory_total_mib: float
    memory_measure: str
    kills: list[KillLine]
    notes: list[str]
    machine: Machine


def encode_report(report: Report) -> bytes:
    """Write it as indented JSON."""
    return msgspec.json.format(msgspec.json.encode(report), indent=2) + b"\n"
