"""Compares two versions of a model on the same past windows, by what was measured later."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from datetime import datetime
from typing import Final

import msgspec
import numpy as np
import numpy.typing as npt

from millrace.console.operations.replay import Planned, Request, plan_replay
from millrace.contracts.clock import event_time
from millrace.contracts.errors import DataError, SettingsError
from millrace.contracts.model_spec import PERSISTENCE, ModelSpec
from millrace.infra.settings import Settings
from millrace.replay.past import Past
from millrace.replay.pipeline import Pipeline, Run
from millrace.replay.plan import Choice, Part, make_plan
from millrace.replay.records import wanted_from
from millrace.replay.versions import choose
from millrace.trainer.learning.gate import GateSettings, block_length
from millrace.trainer.learning.improvement import draw_by_asset, improvement, interval, together

Float64 = npt.NDArray[np.float64]
#: Stretches of time for which errors are told.
STRETCHES: Final = 48
#: Name of version 0 of a model, where the other version names the model.
_PERSISTENCE: Final = "persistence"


class Errors(msgspec.Struct, frozen=True):
    """Mean absolute errors on some windows, in scales of one version's units.

    Attributes:
        windows: Number of windows.
        a: Error of the first version.
        b: Error of the second one.
        persistence: Error of persistence.
        improvement: Relative improvement of the second version over the first.
        low: Lower end of its bootstrap interval.
        high: Upper end of it.
    """

    windows: int
    a: float
    b: float
    persistence: float
    improvement: float
    low: float
    high: float


class Stretch(msgspec.Struct, frozen=True):
    """Mean errors in a stretch of event time.

    Attributes:
        since: Its begin.
        windows: Number of windows whose forecast begins in it.
        a: Error of the first version; None without a window.
        b: Error of the second one.
        persistence: Error of persistence.
    """

    since: datetime
    windows: int
    a: float | None
    b: float | None
    persistence: float | None


class Compared(msgspec.Struct, frozen=True):
    """Result of a comparison.

    Attributes:
        model: The model.
        a: The first version.
        b: The second one.
        units: Version in whose scales errors are.
        confidence: One-sided confidence of the intervals' ends.
        all: Errors on all windows.
        assets: Errors by asset.
        stretches: Errors over event time.
        unjudged: Windows whose truth is not known.
    """

    model: str
    a: int
    b: int
    units: int
    confidence: float
    all: Errors
    assets: dict[str, Errors]
    stretches: tuple[Stretch, ...]
    unjudged: int


@dataclass(frozen=True)
class _Judged:
    """Windows with their errors, by event time.

    Attributes:
        ends_ms: Event time where each forecast begins, int64 of shape (n,).
        asset: str of shape (n,).
        errors: float64 of shape (n, 3): of the first version, the second one and persistence.
    """

    ends_ms: npt.NDArray[np.int64]
    asset: npt.NDArray[np.str_]
    errors: Float64


def compare_versions(
    settings: Settings, a: str, b: str, request: Request, tell: Callable[[int, int], None]
) -> Compared:
    """Replay a stretch with two versions, and compare their errors.

    Args:
        settings: Where Kafka and the object store are.
        a: The first version: MODEL@NUMBER, a number, ``active``, or ``persistence``.
        b: The second one.
        request: The stretch; its model is ignored.
        tell: Receives the number of records that are done, and of all.

    Raises:
        DataError: Nothing can be judged, or an archived object cannot be read.
        ServerError: A server does not answer.
        SettingsError: A version is not there, or they are of two models.
    """
    planned = plan_replay(settings, request, None)
    with closing(Past(settings)) as past:
        first, second = _versions(a, b, past)
        spec = past.registry.models[first.model].spec
        units = max(first, second, key=lambda each: each.version).version
        scales = _scales(past, first.model, units)
        rows: list[tuple[int, str, Float64]] = []
        unjudged = done = 0
        for part in planned.plan.parts:
            for judged, without, count in _pairs(past, planned, part, (first, second), scales):
                rows += judged
                unjudged += without
                done += count
                tell(done, planned.plan.records)
    if not rows:
        raise DataError(
            f"the truth of no window of model {first.model} is known in that time; outcomes are"
            " written when readings cover a forecast"
        )
    rows.sort(key=lambda row: (row[0], row[1]))
    found = _Judged(
        np.array([row[0] for row in rows], np.int64),
        np.array([row[1] for row in rows]),
        np.stack([row[2] for row in rows]),
    )
    gate = GateSettings()
    return Compared(
        first.model,
        first.version,
        second.version,
        units,
        gate.confidence,
        *_by_asset(found, spec, gate),
        _over_time(found),
        unjudged,
    )


def _versions(a: str, b: str, past: Past) -> tuple[Choice, Choice]:
    named = [each for each in (a, b) if each != _PERSISTENCE]
    if not named:
        raise SettingsError("persistence compares with persistence as equal: name a version")
    found = [choose(each, past.registry) for each in named]
    models = {choice.model for choices in found for choice in choices}
    if len(models) != 1 or any(len(choices) != 1 for choices in found):
        raise SettingsError(f"{a} and {b} must be two versions of one model, as in MODEL@1 MODEL@2")
    (model,) = models
    zero = Choice(model, PERSISTENCE, 0)
    chosen = iter(choices[0] for choices in found)
    first, second = (zero if each == _PERSISTENCE else next(chosen) for each in (a, b))
    return first, second


def _scales(past: Past, model: str, version: int) -> Float64:
    """Scale of each target in a version's units, float64 of shape (targets,)."""
    known = past.registry.models[model]
    scale = np.array(known.versions[version].registered.normaliser.scale, np.float64)
    return scale[list(known.spec.target_columns)]


def _pairs(
    past: Past, planned: Planned, part: Part, choices: Sequence[Choice], scales: Float64
) -> Iterator[tuple[list[tuple[int, str, Float64]], int, int]]:
    """Judge a partition's windows, block by block.

    Yields:
        Event time, asset and errors of each judged window; the number of others; that of records.
    """
    plan = planned.plan
    truths = past.truths(plan, part)

    def pipeline(choice: Choice) -> Pipeline:
        own = make_plan(
            "",
            [part],
            f"{choice.model}@{choice.version}",
            [choice],
            plan.destination,
            assets=plan.assets,
        )
        return past.pipeline(own, part)

    is_wanted = wanted_from(plan, part.first)
    pipelines = [pipeline(choice) for choice in choices]
    for records in past.blocks(part):
        ours, theirs = (each.run(records, is_wanted) for each in pipelines)
        a, b = (
            {at: row for run in scored.runs for at, row in _errors(run, truths, scales)}
            for scored in (ours, theirs)
        )
        both = sorted(a.keys() & b.keys())
        judged = [
            (a[at].end_ms, a[at].asset, np.array([a[at].error, b[at].error, a[at].persistence]))
            for at in both
        ]
        predicted = sum(len(run.windows) for run in ours.runs)
        yield judged, predicted - len(both), ours.records


@dataclass(frozen=True)
class _Row:
    """Errors of a window's forecast and of persistence."""

    end_ms: int
    asset: str
    error: float
    persistence: float


def _errors(
    run: Run, truths: dict[int, list[list[float | None]]], scales: Float64
) -> Iterator[tuple[int, _Row]]:
    """Errors of the windows whose truth is known, by position."""
    rows = [n for n, window in enumerate(run.windows) if window.source.offset in truths]
    if not rows:
        return
    truth = np.array([truths[run.windows[n].source.offset] for n in rows], np.float64)
    forecast = run.said.forecast[rows].astype(np.float64)
    last = run.said.last[rows].astype(np.float64)[:, None, :]
    known = np.isfinite(truth) & run.said.present[rows][:, None, :]
    counts = known.sum(axis=(1, 2))
    both = (
        np.where(known, np.abs(each - truth) / scales, 0.0).sum(axis=(1, 2))
        for each in (forecast, last)
    )
    for n, count, error, persistence in zip(rows, counts, *both, strict=True):
        if count:
            window = run.windows[n]
            row = _Row(window.end_ms, window.asset, error / count, persistence / count)
            yield window.source.offset, row


def _by_asset(
    found: _Judged, spec: ModelSpec, gate: GateSettings
) -> tuple[Errors, dict[str, Errors]]:
    """Errors on all windows and by asset, with bootstrap intervals as the gate's."""
    a, b = found.errors[:, 0], found.errors[:, 1]
    drawn = draw_by_asset(b, a, found.asset, gate.resamples, block_length(spec), gate.seed)
    assets = {
        name: _summary(found.errors[found.asset == name], pair, gate.confidence)
        for name, pair in drawn.items()
    }
    return _summary(found.errors, together(drawn.values()), gate.confidence), assets


def _summary(errors: Float64, drawn: tuple[Float64, Float64], confidence: float) -> Errors:
    a, b, persistence = (float(mean) for mean in errors.mean(axis=0))
    return Errors(len(errors), a, b, persistence, improvement(b, a), *interval(*drawn, confidence))


def _over_time(found: _Judged) -> tuple[Stretch, ...]:
    """Mean errors in equal stretches of event time."""
    edges = np.linspace(found.ends_ms[0], found.ends_ms[-1] + 1, STRETCHES + 1)
    places = np.digitize(found.ends_ms, edges) - 1
    stretches = []
    for number in range(STRETCHES):
        inside = found.errors[places == number]
        means = [float(each) for each in inside.mean(axis=0)] if len(inside) else [None] * 3
        stretches.append(Stretch(event_time(round(edges[number])), len(inside), *means))
    return tuple(stretches)
