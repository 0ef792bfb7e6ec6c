"""Pictures of a run, as SVG text whose colours follow the page (light or dark).

Drawn with matplotlib in placeholder colours, which are then replaced by CSS variables, so
that one picture serves both themes and needs nothing from the network.
"""

from __future__ import annotations

import io
import re
from collections.abc import Sequence
from datetime import datetime
from typing import Any, Final

import matplotlib as mpl
import matplotlib.dates as mdates
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from millrace.console.demo.accuracy import Judged
from millrace.console.demo.report.report import DriftLine, Swap
from millrace.contracts.wire.visible import visible
from millrace.verification.latency import Arrival

#: Placeholder colours and the CSS variables that they become.
_THEME: Final = {
    "#010101": "var(--ink)",
    "#020202": "var(--faint)",
    "#030303": "var(--live)",
    "#040404": "var(--frozen)",
    "#050505": "var(--persistence)",
    "#060606": "var(--truth)",
    "#070707": "var(--alarm)",
    "#080808": "var(--swap)",
    "#090909": "var(--input)",
}
INK, FAINT, LIVE, FROZEN, PERSISTENCE, TRUTH, ALARM, SWAP, INPUT = _THEME

_STYLE: Final[Any] = {
    "svg.fonttype": "none",
    "svg.hashsalt": "millrace",
    "font.family": "sans-serif",
    "font.size": 9,
    "axes.edgecolor": FAINT,
    "axes.labelcolor": INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": FAINT,
    "grid.linewidth": 0.4,
    "grid.alpha": 0.5,
    "text.color": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "legend.frameon": False,
    "lines.linewidth": 1.5,
}
_WIDTH: Final = 9.6
#: Points of the error curves over the whole scenario.
_CURVE_POINTS: Final = 120
#: Drawn time on either side of an approval, milliseconds.
_NEAR_MS: Final = 15_000
_DAY_SECONDS: Final = 86_400.0


def error_plot(rows: Sequence[Judged], swaps: Sequence[Swap], drift: Sequence[DriftLine]) -> str:
    """Draw the errors over event time, with alarms and swaps.

    Args:
        rows: Judged forecasts by event time.
        swaps: Swaps, drawn as lines.
        drift: Alarms, drawn as ticks below: those that ask for training, and the others.
    """
    with mpl.rc_context(_STYLE):
        figure = Figure(figsize=(_WIDTH, 3.8), layout="constrained")
        axes = figure.add_subplot()
        times = np.array([row.interval_start_ms for row in rows], dtype=np.float64)
        series = (
            ("persistence", PERSISTENCE, [row.persistence for row in rows]),
            ("frozen first model", FROZEN, [row.frozen for row in rows]),
            ("live", LIVE, [row.live for row in rows]),
        )
        for label, colour, errors in series:
            known = [error for error in errors if error is not None]
            if len(known) == len(rows) and known:
                at, level = _curve(times, np.array([_mean(error) for error in known]))
                axes.plot(at, level, color=colour, label=label)
        top = axes.get_ylim()[1]
        for swap in swaps:
            if swap.event_time is not None:
                axes.axvline(_day(swap.event_time), color=SWAP, linewidth=1, linestyle="--")
                axes.text(_day(swap.event_time), top, f" v{swap.version}", color=SWAP, va="bottom",
                          ha="center")  # fmt: skip
        _ticks(axes, [d.event_time for d in drift if not d.asks_training], INPUT, 0.012, "alert")
        _ticks(
            axes,
            [d.event_time for d in drift if d.asks_training],
            ALARM,
            0.03,
            "alarm that asks for training",
        )
        axes.set_ylim(bottom=0, top=top)
        axes.set_ylabel("mean absolute error (std)")
        _date_axis(axes)
        axes.legend(loc="upper left", ncols=5, bbox_to_anchor=(0, -0.1), fontsize=8)
        return _svg(figure)


def lines_plot(
    times: Sequence[datetime], lines: Sequence[tuple[str, str, Sequence[float | None]]], label: str
) -> str:
    """Draw lines over event time; None breaks a line.

    Args:
        times: Event times.
        lines: Name, colour and values of each line.
        label: What is drawn, with its unit.
    """
    with mpl.rc_context(_STYLE):
        figure = Figure(figsize=(_WIDTH, 3.4), layout="constrained")
        axes = figure.add_subplot()
        for name, colour, values in lines:
            drawn = [float("nan") if value is None else value for value in values]
            axes.plot(_days(times), drawn, color=colour, label=visible(name))
        axes.set_ylim(bottom=0)
        axes.set_ylabel(visible(label), parse_math=False)
        _date_axis(axes)
        axes.legend(loc="upper left", ncols=4, bbox_to_anchor=(0, -0.12), fontsize=8)
        return _svg(figure)


def swap_plot(
    truth: tuple[Sequence[datetime], Sequence[float]],
    live: tuple[Sequence[datetime], Sequence[float]],
    frozen: tuple[Sequence[datetime], Sequence[float]],
    swap: datetime,
    label: str,
) -> str:
    """Draw forecasts against the truth around a swap.

    Args:
        truth: Event times and what was measured then.
        live: Event times and what was forecast for then.
        frozen: The same by the frozen model; may be empty.
        swap: Event time of the swap.
        label: What is drawn, with its unit.
    """
    with mpl.rc_context(_STYLE):
        figure = Figure(figsize=(_WIDTH, 3.4), layout="constrained")
        axes = figure.add_subplot()
        axes.plot(_days(truth[0]), truth[1], color=TRUTH, label="truth", linewidth=2.4, alpha=0.45)
        if len(frozen[0]):
            axes.plot(
                _days(frozen[0]), frozen[1], color=FROZEN, label="frozen first model", linewidth=1
            )
        axes.plot(_days(live[0]), live[1], color=LIVE, label="live forecast", linewidth=1.2)
        axes.axvline(_day(swap), color=SWAP, linewidth=1, linestyle="--", label="swap")
        axes.set_ylabel(visible(label), parse_math=False)
        _date_axis(axes)
        axes.legend(loc="upper left", ncols=4, bbox_to_anchor=(0, -0.12), fontsize=8)
        return _svg(figure)


def latency_plot(arrivals: Sequence[Arrival], swap: Swap) -> str:
    """Draw each prediction's latency around a swap, over wall time from the approval."""
    begun = swap.approved_at or swap.activated_at
    zero = begun.timestamp() * 1000
    near = [a for a in arrivals if abs(a.sent_ms - zero) <= _NEAR_MS]
    with mpl.rc_context(_STYLE):
        figure = Figure(figsize=(_WIDTH / 2, 2.8), layout="constrained")
        axes = figure.add_subplot()
        for old, colour, label in ((True, FROZEN, "before"), (False, LIVE, f"v{swap.version}")):
            shown = [a for a in near if (a.version != swap.version) == old]
            axes.scatter(
                [(a.sent_ms - zero) / 1000 for a in shown],
                [a.latency_ms for a in shown],
                color=colour,
                s=7,
                label=label,
                linewidths=0,
            )
        moments = ((begun, "approved", "right"), (swap.stamped_at, "stamped", "left"))
        for moment, name, side in moments:
            if moment is not None:
                at = moment.timestamp() - begun.timestamp()
                axes.axvline(at, color=SWAP, linewidth=0.9, linestyle="--")
                axes.annotate(
                    name, (at, 0.98), xycoords=("data", "axes fraction"), rotation=90,
                    va="top", ha=side, fontsize=7, color=SWAP,
                )  # fmt: skip
        axes.set_ylim(bottom=0)
        axes.set_xlabel("seconds from the approval")
        axes.set_ylabel("edge to prediction (ms)")
        axes.set_title(f"swap to version {swap.version}", fontsize=9, color=INK)
        axes.legend(loc="upper right", fontsize=7)
        return _svg(figure)


def _curve(
    times: np.ndarray[tuple[int, ...], np.dtype[np.float64]],
    errors: np.ndarray[tuple[int, ...], np.dtype[np.float64]],
) -> tuple[list[float], list[float]]:
    """Means over equal stretches of event time (days); a gap breaks the line."""
    edges = np.linspace(times[0], times[-1] + 1, _CURVE_POINTS + 1)
    place = np.clip(np.digitize(times, edges) - 1, 0, _CURVE_POINTS - 1)
    at, level = [], []
    for index in range(_CURVE_POINTS):
        inside = errors[place == index]
        inside = inside[~np.isnan(inside)]
        middle = (edges[index] + edges[index + 1]) / 2
        at.append(middle / 1000 / _DAY_SECONDS)
        level.append(float(inside.mean()) if len(inside) else float("nan"))
    return at, level


def _day(moment: datetime) -> float:
    """A time in matplotlib's unit: days since 1970."""
    return moment.timestamp() / _DAY_SECONDS


def _days(moments: Sequence[datetime]) -> list[float]:
    return [_day(moment) for moment in moments]


def _mean(values: np.ndarray[tuple[int, ...], np.dtype[np.float64]]) -> float:
    known = values[~np.isnan(values)]
    return float(known.mean()) if len(known) else float("nan")


def _ticks(axes: Axes, moments: Sequence[datetime], colour: str, height: float, label: str) -> None:
    for index, moment in enumerate(moments):
        axes.axvline(
            _day(moment),
            ymax=height * 2,
            color=colour,
            linewidth=1,
            label=label if index == 0 else None,
        )


def _date_axis(axes: Axes) -> None:
    locator = mdates.AutoDateLocator(maxticks=10)  # type: ignore[no-untyped-call]
    axes.xaxis.set_major_locator(locator)
    axes.xaxis.set_major_formatter(mdates.ConciseDateFormatter(locator))  # type: ignore[no-untyped-call]


def _svg(figure: Figure) -> str:
    """Write a figure as SVG without header, size or fixed colours."""
    buffer = io.StringIO()
    figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None})
    text = buffer.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(r'<svg ([^>]*?)width="[^"]*" ', r"<svg \1", text, count=1)
    text = re.sub(r'<svg ([^>]*?)height="[^"]*" ', r"<svg \1", text, count=1)
    text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.DOTALL)
    for placeholder, variable in _THEME.items():
        text = text.replace(placeholder, variable)
    return text
