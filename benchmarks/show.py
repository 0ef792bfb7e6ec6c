"""Results as tables: in the terminal after a run, or as Markdown for a page.

``python -m benchmarks show`` prints every result that there is as Markdown, in the order of
`benchmarks.__main__`.
"""

from __future__ import annotations

import sys
from typing import Final

from benchmarks.result import Cell, Result, Spread, Table
from millrace.console.terminal.output import answers, table

_TEN: Final = 10
_HUNDRED: Final = 100


def show(result: Result) -> None:
    """Print a result for people."""
    for made in result.tables:
        columns = list(made.rows[0]) if made.rows else []
        rows = [[_text(row.get(name)) for name in columns] for row in made.rows]
        answers.print(table(made.title, columns, rows))
        if made.note:
            answers.print(made.note, highlight=False, markup=False)


def markdown(result: Result) -> str:
    """Write a result as Markdown."""
    machine = result.machine
    kind = " A trial with small sizes: no figure to rely on." if result.quick else ""
    where = (
        f"{result.taken_at:%Y-%m-%d}, {machine.processor}, {machine.cores} cores,"
        f" {machine.memory_gib:g} GiB, {machine.system}, Python {machine.python},"
        f" Kafka {machine.kafka}; {result.repeats} repeats, median and range;"
        f" load before: {machine.load_before:g}."
    )
    lines = [
        f"### {result.name}",
        "",
        where + kind,
        "",
    ]
    for made in result.tables:
        lines += [*_markdown_table(made), ""]
    return "\n".join(lines)


def print_markdown(results: list[Result]) -> None:
    """Print results as Markdown on standard output."""
    sys.stdout.write("\n".join(markdown(result) for result in results))


def _markdown_table(made: Table) -> list[str]:
    columns = list(made.rows[0]) if made.rows else []
    numeric = [all(not isinstance(row.get(name), str) for row in made.rows) for name in columns]
    lines = [
        f"**{made.title}**",
        "",
        "| " + " | ".join(columns) + " |",
        "|" + "|".join("---:" if right else "---" for right in numeric) + "|",
    ]
    lines += [
        "| " + " | ".join(_text(row.get(name)) for name in columns) + " |" for row in made.rows
    ]
    return [*lines, "", made.note] if made.note else lines


def _text(cell: Cell) -> str:
    match cell:
        case None:
            return ""
        case str():
            return cell
        case Spread():
            if cell.low == cell.high:
                return _number(cell.median)
            return f"{_number(cell.median)} ({_number(cell.low)} to {_number(cell.high)})"
        case _:
            return _number(cell)


def _number(value: float) -> str:
    size = abs(value)
    if size >= _HUNDRED or float(value).is_integer():
        return f"{value:,.0f}"
    return f"{value:.1f}" if size >= _TEN else f"{value:.2f}"
