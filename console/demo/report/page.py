"""The report as HTML; one file, since each section of it is one function.

The page is self-contained: pictures and styles are embedded.
"""

from __future__ import annotations

import html
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Final

from millrace.console.demo.report.pictures import Pictures
from millrace.console.demo.report.report import ReplayCounts, Report
from millrace.contracts.wire.visible import visible

_NONE: Final = "\N{EN DASH}"
#: Numbers from here on are shown with fewer decimals.
_LARGE: Final = 10

_CSS: Final = """
:root { color-scheme: light dark;
  --paper: #ffffff; --card: #f6f7f9; --ink: #1d2330; --soft: #5b6577; --faint: #c6ccd6;
  --live: #0b7a5b; --frozen: #b3541e; --persistence: #7a8496; --truth: #22304a;
  --alarm: #c21f3a; --swap: #4253c9; --input: #c79a2b; --good: #0b7a5b; --bad: #c21f3a; }
@media (prefers-color-scheme: dark) { :root {
  --paper: #12151c; --card: #1b202a; --ink: #e7eaf0; --soft: #9aa5b8; --faint: #3a4352;
  --live: #3fd0a4; --frozen: #f0935a; --persistence: #8b95a7; --truth: #c3d2f0;
  --alarm: #ff6b81; --swap: #93a1ff; --input: #e0bd63; --good: #3fd0a4; --bad: #ff6b81; } }
* { box-sizing: border-box; }
body { margin: 0; background: var(--paper); color: var(--ink);
  font: 15px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, sans-serif; }
main { max-width: 1060px; margin: 0 auto; padding: 40px 20px 80px; }
h1 { font-size: 26px; line-height: 1.25; margin: 0 0 4px; letter-spacing: -.01em; }
h2 { font-size: 18px; margin: 44px 0 6px; }
p { margin: 4px 0 12px; max-width: 75ch; } .soft { color: var(--soft); }
.tiles { display: grid; grid-template-columns: repeat(auto-fit, minmax(150px, 1fr));
  gap: 12px; margin: 24px 0 8px; }
.tile { background: var(--card); border-radius: 10px; padding: 12px 16px; }
.tile b { display: block; font-size: 24px; line-height: 1.2; font-variant-numeric: tabular-nums; }
.tile span { color: var(--soft); font-size: 13px; }
.good b { color: var(--good); } .bad b { color: var(--bad); }
figure { margin: 12px 0; background: var(--card); border-radius: 10px; padding: 12px; }
figure svg { width: 100%; height: auto; display: block; }
svg text { font-family: inherit; }
.row { display: grid; grid-template-columns: repeat(auto-fit, minmax(330px, 1fr)); gap: 12px; }
.row figure { margin: 0; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; width: 100%; font-size: 13.5px;
  font-variant-numeric: tabular-nums; }
th { text-align: left; color: var(--soft); font-weight: 500; white-space: nowrap; }
th, td { padding: 6px 12px 6px 0; border-bottom: 1px solid var(--faint); vertical-align: top; }
td.n, th.n { text-align: right; }
.approved { color: var(--good); } .rejected { color: var(--bad); }
details summary { cursor: pointer; color: var(--soft); margin: 8px 0; }
footer { margin-top: 56px; color: var(--soft); font-size: 13px; }
"""


def render_page(report: Report, pictures: Pictures) -> str:
    """Write the page.

    Args:
        report: The report.
        pictures: Its pictures, SVG text.
    """
    parts = [
        _head(report),
        _tiles(report),
        _notes(report),
        _errors(report, pictures),
        _swaps(report, pictures),
        _models(report),
        _alerts(report),
        _windows(report),
        _resources(report),
    ]
    return document(f"Millrace: {report.title}", parts)


def document(title: str, parts: Iterable[str]) -> str:
    """Write a self-contained page.

    Args:
        title: Its title, which is escaped.
        parts: Its content, HTML.
    """
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(title)}</title><style>{_CSS}</style></head><body><main>"
        + "".join(parts)
        + "</main></body></html>\n"
    )


def escape(text: str) -> str:
    """Escape text: no markup, and no characters that reverse or hide the text around it."""
    return html.escape(visible(text))


def _head(report: Report) -> str:
    return (
        f"<h1>{escape(report.title)}</h1>"
        f'<p class="soft">Model <b>{escape(report.dataset)}</b>, replayed from'
        f" {_moment(report.replay_from)} to {_moment(report.replay_until)}; run on"
        f" {report.started_at:%Y-%m-%d %H:%M} UTC in {report.seconds:.0f} s.</p>"
    )


def _tiles(report: Report) -> str:
    w, e = report.windows, report.error
    wrong = w.missing or w.duplicated or w.mixed
    ratio = _ratio(e.live, e.persistence)
    against_frozen = _ratio(e.live, e.frozen)
    tiles = [
        (_number(e.live), "live error (std)", ""),
        (ratio, "of persistence's error", ""),
        (against_frozen, f"of frozen version {e.frozen_version}'s error", ""),
        (str(len(report.swaps)), "swaps", ""),
        (f"{w.predicted:,}", "windows predicted", ""),
        (
            f"{w.missing} / {w.duplicated} / {w.mixed}",
            "missing / duplicated / mixed",
            "bad" if wrong else "good",
        ),
    ]
    cells = "".join(
        f'<div class="tile {kind}"><b>{escape(value)}</b><span>{escape(name)}</span></div>'
        for value, name, kind in tiles
    )
    return f'<div class="tiles">{cells}</div>'


def _notes(report: Report) -> str:
    items = "".join(f"<li>{escape(note)}</li>" for note in report.notes)
    return f"<ul>{items}</ul>" if items else ""


def _errors(report: Report, pictures: Pictures) -> str:
    e = report.error
    months = html_table(
        ("month", "live", "frozen", "persistence", "live / frozen", "windows"),
        [
            *(
                (m.month, m.live, m.frozen, m.persistence, _ratio(m.live, m.frozen), m.windows)
                for m in e.by_month
            ),
            ("all", e.live, e.frozen, e.persistence, _ratio(e.live, e.frozen), e.windows),
        ],
    )
    drifted = "".join(
        f"<p>{escape(part.what)}, from {_moment(part.start)}: live {_number(part.live)}, frozen"
        f" {_number(part.frozen)} ({_number(part.frozen_before)} before), persistence"
        f" {_number(part.persistence)} over {part.windows:,} forecasts.</p>"
        for part in e.drifted
    )
    return (
        "<h2>Error over event time</h2>"
        '<p class="soft">Mean absolute errors in standard deviations of the first training'
        " stretch, over the sensors that are present, against the truth in the source. Dashed"
        " lines are swaps; ticks below are alerts, the tall ones those that ask for"
        " training.</p>" + html_figure(pictures.error) + drifted + months
    )


def _swaps(report: Report, pictures: Pictures) -> str:
    rows = [
        (
            f"v{s.version}",
            s.epoch,
            s.kind.replace("_", " "),
            _moment(s.event_time),
            s.activation_seconds,
            s.activated_to_stamped_seconds,
            _milliseconds(s.p99_latency_ms_before),
            _milliseconds(s.p99_latency_ms_during),
            s.windows_during,
            ", ".join(f"{p}:{o}" for p, o in sorted(s.partitions.items())),
            s.mixed,
        )
        for s in report.swaps
    ]
    table = html_table(
        (
            "version",
            "epoch",
            "kind",
            "from event time",
            "approved → stamped (s)",
            "activated → stamped (s)",
            "p99 before (ms)",
            "p99 during (ms)",
            "windows during",
            "first offsets",
            "mixed",
        ),
        rows,
    )
    close = (
        f'<h2>Predictions around a swap</h2><p class="soft">{escape(pictures.swap_title)}.</p>'
        + html_figure(pictures.swap)
        if pictures.swap
        else ""
    )
    latency = (
        '<h2>Latency around the swaps</h2><p class="soft">Each point is a window: from the'
        " edge's hand to a read_committed consumer's.</p>"
        f'<div class="row">{"".join(html_figure(p) for p in pictures.latency)}</div>'
        if pictures.latency
        else ""
    )
    return close + latency + "<h2>Swaps</h2>" + table


def _models(report: Report) -> str:
    rows = [
        (
            m.version,
            _Html(f'<span class="{m.verdict}">{m.verdict}</span>'),
            f"{_moment(m.trained_from)} to {_moment(m.trained_until)}",
            m.windows,
            m.holdout_error.challenger if m.holdout_error else None,
            m.holdout_error.champion if m.holdout_error else None,
            m.holdout_error.persistence if m.holdout_error else None,
            m.fit_seconds,
            m.reason,
            m.requested_because,
        )
        for m in report.models
    ]
    return "<h2>Models and the gate</h2>" + html_table(
        (
            "version",
            "verdict",
            "trained on",
            "windows",
            "challenger",
            "champion",
            "persistence",
            "fit (s)",
            "reason",
            "asked for because",
        ),
        rows,
    )


def _alerts(report: Report) -> str:
    rows = [
        (
            _moment(d.event_time),
            d.asset,
            d.signal,
            d.sensor,
            d.detector,
            f"v{d.version}",
            "yes" if d.triggered_training else "",
            d.detail,
        )
        for d in report.drift
    ]
    table = html_table(
        ("event time", "asset", "signal", "sensor", "detector", "served", "trained", "detail"),
        rows,
    )
    is_open = " open" if len(rows) <= 15 else ""  # noqa: PLR2004  (a screenful)
    return (
        f"<h2>Drift alerts</h2><details{is_open}><summary>{len(rows)} alerts</summary>{table}"
        "</details>"
    )


def _windows(report: Report) -> str:
    w = report.windows
    reasons = ", ".join(f"{n} {reason}" for reason, n in sorted(w.reasons.items())) or "none"
    return (
        "<h2>Windows</h2>"
        '<p class="soft">Counted by a checker that reads the source and the topics'
        " (read_committed), and asks no service.</p>"
        + html_table(
            (
                "expected",
                "sent",
                "valid",
                "rejected",
                "predicted",
                "missing",
                "duplicated",
                "mixed",
                "fallbacks",
            ),
            [
                (
                    w.expected,
                    w.sent,
                    w.valid,
                    w.rejected,
                    w.predicted,
                    w.missing,
                    w.duplicated,
                    w.mixed,
                    w.fallbacks,
                )
            ],
        )
        + f"<p>Dead letters: {escape(reasons)}.</p>"
        + _replayed(report.replayed)
    )


def _replayed(again: ReplayCounts | None) -> str:
    if again is None:
        return ""
    return (
        f"<p>Replayed as served in {again.seconds:.0f} s: {again.equal:,} predictions equal, bit"
        f" for bit; {again.different} different, {again.missing} missing, {again.extra} extra.</p>"
    )


def _resources(report: Report) -> str:
    s, m = report.speed, report.machine
    kills = "".join(
        f"<li>{escape(k.program)} was killed at {k.at:.0%} of the replay and was back after"
        f" {_number(k.back_seconds)} s</li>"
        for k in report.kills
    )
    return (
        "<h2>Time and memory</h2>"
        f"<p>Recorded time ran {s.replay:,.0f} times as fast as the clock, and"
        f" {s.while_training:,.0f} times while a training run was in progress"
        f" ({_number(s.slowed_seconds)} s in all), so that a training does not swallow days"
        f" that it would not take on a real machine. Silences of the recording were cut to"
        f" {s.max_idle_seconds:g} s. On average {s.windows_per_second:,.0f} windows/s were"
        f" replayed; edge to prediction took {_milliseconds(report.latency.p50_ms)} ms"
        f" (median), {_milliseconds(report.latency.p99_ms)} ms (p99).</p>"
        + (f"<ul>{kills}</ul>" if kills else "")
        + html_table(
            ("program", f"peak memory (MiB, {report.memory_measure})"),
            [
                *((name, round(mib)) for name, mib in report.memory_mib.items()),
                ("all together, at one time", round(report.memory_total_mib)),
            ],
        )
        + f"<footer>{escape(m.system)}, {escape(m.processor)}, {m.cores} cores,"
        f" {m.memory_gib:g} GiB, Python {escape(m.python)} · namespace"
        f" {escape(report.namespace)}</footer>"
    )


class _Html(str):
    """Text that is HTML already."""

    __slots__ = ()


def html_table(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """Build a table; numbers are right-aligned, None is an empty cell, text is escaped."""
    content = [list(row) for row in rows]
    numeric = [
        any(isinstance(row[i], int | float) for row in content)
        and all(row[i] is None or isinstance(row[i], int | float) for row in content)
        for i in range(len(columns))
    ]
    kinds = [' class="n"' if right else "" for right in numeric]
    head = "".join(f"<th{k}>{escape(c)}</th>" for k, c in zip(kinds, columns, strict=True))
    body = "".join(
        "<tr>" + "".join(f"<td{k}>{_cell(v)}</td>" for k, v in zip(kinds, row, strict=True))
        + "</tr>"
        for row in content
    )  # fmt: skip
    return f'<div class="scroll"><table><tr>{head}</tr>{body}</table></div>'


def _cell(value: object) -> str:
    match value:
        case None:
            return ""
        case _Html():
            return value
        case float():
            return _number(value)
        case int():
            return f"{value:,}"
        case _:
            return escape(str(value))


def html_figure(picture: str | None) -> str:
    """Build a figure of SVG text; nothing if there is no picture."""
    return f"<figure>{picture}</figure>" if picture else ""


def _number(value: float | None) -> str:
    return _NONE if value is None else f"{value:.3f}" if abs(value) < _LARGE else f"{value:.1f}"


def _milliseconds(value: float | None) -> str:
    return _NONE if value is None else f"{value:.0f}"


def _ratio(value: float | None, of: float | None) -> str:
    return _NONE if value is None or not of else f"{value / of:.2f}"


def _moment(moment: datetime | None) -> str:
    return _NONE if moment is None else f"{moment:%Y-%m-%d %H:%M}"
