"""Selects the content of the report's pictures, and draws them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

import numpy as np

from millrace.console.demo.accuracy import Floats
from millrace.console.demo.report.plots import error_plot, latency_plot, swap_plot
from millrace.console.demo.report.report import Report, Swap
from millrace.console.demo.scenario import Scenario
from millrace.console.demo.scoreboard import Name, forecast_array, window_name
from millrace.console.demo.summary import Measured
from millrace.contracts.clock import event_time, to_ms
from millrace.verification.evidence import Evidence

#: Number of drawn windows of an asset on either side of a swap.
_AROUND_WINDOWS: Final = 60
#: A gap of more strides breaks a line.
_BREAK_STRIDES: Final = 1.5
#: Latency pictures, one per swap.
_LATENCY_PICTURES: Final = 6

Line = tuple[list[datetime], list[float]]


@dataclass(frozen=True)
class Pictures:
    """The report's pictures, as SVG text; None where there is nothing to draw.

    Attributes:
        error: Errors over event time.
        swap: Forecasts against truth around a swap.
        swap_title: Title of that picture.
        latency: Latency around each swap.
    """

    error: str | None
    swap: str | None
    swap_title: str
    latency: list[str]


def draw(
    report: Report,
    scenario: Scenario,
    evidence: Evidence,
    measured: Measured,
    frozen: Mapping[Name, Floats] | None,
) -> Pictures:
    """Draw all pictures.

    Args:
        report: The report.
        scenario: The scenario, with its truth.
        evidence: Predictions.
        measured: Judged forecasts and arrivals.
        frozen: The frozen model's forecasts, if there is one.
    """
    swap = _telling(report.swaps)
    drawn, title = (None, "") if swap is None else _swap(swap, scenario, evidence, frozen)
    judged = [row for row in measured.rows if not np.isnan(row.live + row.persistence).all()]
    timed = [s for s in report.swaps if s.windows_during or s.windows_before]
    return Pictures(
        error=error_plot(judged, report.swaps, report.drift) if judged else None,
        swap=drawn,
        swap_title=title,
        latency=[latency_plot(measured.arrivals, s) for s in timed[:_LATENCY_PICTURES]],
    )


def _telling(swaps: Sequence[Swap]) -> Swap | None:
    """The swap after that to the first trained version, or else the latter."""
    timed = [swap for swap in swaps if swap.event_time is not None]
    return timed[1] if len(timed) > 1 else timed[0] if timed else None


def _swap(
    swap: Swap, scenario: Scenario, evidence: Evidence, frozen: Mapping[Name, Floats] | None
) -> tuple[str | None, str]:
    """Draw one asset's and one target's forecasts for the last step, around a swap."""
    spec = scenario.spec
    middle = to_ms(swap.event_time) if swap.event_time else 0
    reach = _AROUND_WINDOWS * spec.stride * spec.period_ms
    near = [
        p for p in evidence.predictions
        if p.model == spec.name and abs(to_ms(p.interval_start) - middle) <= reach
    ]  # fmt: skip
    if not near:
        return None, ""
    asset = Counter(p.asset for p in near).most_common(1)[0][0]
    live, truth, other = {}, {}, {}
    for p in near:
        name = window_name(p, spec)
        measured = scenario.truth.of(*name) if p.asset == asset else None
        if measured is None:
            continue
        live[to_ms(p.interval_start)] = forecast_array(p)[-1]
        truth[to_ms(p.interval_start)] = measured[-1]
        if frozen is not None and name in frozen:
            other[to_ms(p.interval_start)] = frozen[name][-1]
    column = _liveliest(truth)
    if column is None or swap.event_time is None:
        return None, ""
    sensor = spec.target_names[column]
    how = "mean over" if spec.target == "mean" else "last of"
    title = f"{asset}, {sensor}: {how} the next {spec.horizon} samples, around version"
    stride = spec.stride * spec.period_ms
    drawn = swap_plot(
        _line(truth, column, stride),
        _line(live, column, stride),
        _line(other, column, stride),
        swap.event_time,
        sensor,
    )
    return drawn, f"{title} {swap.version}"


def _liveliest(truth: Mapping[int, Floats]) -> int | None:
    """The most often present target; of several, the one that changes most."""
    if not truth:
        return None
    values = np.stack(list(truth.values()))
    there = (~np.isnan(values)).sum(axis=0)
    if not there.max():
        return None
    filled = np.where(np.isnan(values), 0.0, values)
    spread = filled.std(axis=0) / (np.abs(filled).mean(axis=0) + 1e-9)
    return int(np.argmax(np.where(there == there.max(), spread, -1.0)))


def _line(values: Mapping[int, Floats], column: int, stride_ms: int) -> Line:
    """One column over event time; a gap breaks the line."""
    moments: list[datetime] = []
    levels: list[float] = []
    last = None
    for at in sorted(values):
        if last is not None and at - last > _BREAK_STRIDES * stride_ms:
            moments.append(event_time(at))
            levels.append(float("nan"))
        moments.append(event_time(at))
        levels.append(float(values[at][column]))
        last = at
    return moments, levels
