"""`millrace compare`: two versions on the same past windows, as a table, a plot and a page."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from millrace.console.operations.compare import Compared, Errors, compare_versions
from millrace.console.operations.replay import Request
from millrace.console.terminal.done import Done
from millrace.console.terminal.output import answers, print_json, table
from millrace.console.terminal.sparkline import sparkline
from millrace.contracts.errors import SettingsError
from millrace.infra.files import replace_file
from millrace.infra.local.address import settings_of_running_system

_COLUMNS = ("asset", "windows", "error A", "error B", "persistence", "B better by", "interval")


def compare(a: str, b: str, request: Request, html: Path | None, *, as_json: bool) -> None:
    """Compare two versions, and print the result.

    Args:
        a: The first version.
        b: The second one.
        request: The stretch.
        html: Write a page with a plot here; None for none.
        as_json: Whether to print JSON.

    Raises:
        DataError, ServerError, SettingsError: See `compare_versions`.
    """
    if html is not None and not html.absolute().parent.is_dir():
        raise SettingsError(f"there is no folder {html.absolute().parent} for --html")
    settings = settings_of_running_system()
    with Done() as told:
        found = compare_versions(settings, a, b, request, told)
    if html is not None:
        replace_file(html, _page(found))
    if as_json:
        print_json(found)
        return
    answers.print(table(_title(found), _COLUMNS, _rows(found)))
    lines = _lines(found)
    top = max((value for _, values in lines for value in values if value is not None), default=0.0)
    answers.print(f"error over event time, from 0 to {top:.4g}", highlight=False)
    for name, values in lines:
        answers.print(f"{name:>12} {sparkline(values, top or 1.0)}", markup=False, highlight=False)
    if html is not None:
        answers.print(f"page: {html}", markup=False, highlight=False, soft_wrap=True)


def _title(found: Compared) -> str:
    unknown = f", {found.unjudged:,} more without truth" if found.unjudged else ""
    return (
        f"model {found.model}: A is version {found.a}, B is version {found.b};"
        f" {found.all.windows:,} windows{unknown}; errors in scales of version {found.units};"
        f" intervals with {found.confidence:.0%} confidence at each end"
    )


def _rows(found: Compared) -> list[Sequence[object]]:
    lines = [*sorted(found.assets.items()), ("all", found.all)]
    return [_row(name, errors) for name, errors in lines]


def _row(name: str, errors: Errors) -> Sequence[object]:
    return (
        name,
        errors.windows,
        errors.a,
        errors.b,
        errors.persistence,
        f"{errors.improvement:.1%}",
        f"{errors.low:.1%} to {errors.high:.1%}",
    )


def _lines(found: Compared) -> list[tuple[str, list[float | None]]]:
    return [
        (f"A, version {found.a}", [each.a for each in found.stretches]),
        (f"B, version {found.b}", [each.b for each in found.stretches]),
        ("persistence", [each.persistence for each in found.stretches]),
    ]


def _page(found: Compared) -> str:
    # matplotlib takes a second to load
    from millrace.console.demo.report.page import (  # noqa: PLC0415
        document,
        escape,
        html_figure,
        html_table,
    )
    from millrace.console.demo.report.plots import (  # noqa: PLC0415
        FROZEN,
        LIVE,
        PERSISTENCE,
        lines_plot,
    )

    title = f"Model {found.model}: version {found.a} and version {found.b}"
    times = [each.since for each in found.stretches]
    colours = (FROZEN, LIVE, PERSISTENCE)
    lines = [
        (name, colour, values)
        for (name, values), colour in zip(_lines(found), colours, strict=True)
    ]
    return document(
        title,
        [
            f'<h1>{escape(title)}</h1><p class="soft">{escape(_title(found))}</p>',
            "<h2>Error over event time</h2>",
            html_figure(lines_plot(times, lines, "mean absolute error (scales)")),
            "<h2>By asset</h2>",
            html_table(_COLUMNS, _rows(found)),
        ],
    )
