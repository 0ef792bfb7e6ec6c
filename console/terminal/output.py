"""Prints results on standard output: tables for display, or JSON for programs.

Names and details are untrusted: `infra.terminal` describes how they are shown.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import Any, Final

import msgspec
from rich import box
from rich.table import Table

from millrace.contracts.wire.visible import visible_json
from millrace.infra.terminal import Terminal
from millrace.infra.topics.settings import Finding

#: Columns of output without a terminal, where the width is unknown.
_FILE_COLUMNS: Final = 160


def _console(*, stderr: bool) -> Terminal:
    stream = sys.stderr if stderr else sys.stdout
    known = stream.isatty() or "COLUMNS" in os.environ
    return Terminal(stderr=stderr, width=None if known else _FILE_COLUMNS)


#: Results.
answers = _console(stderr=False)
#: Progress and remarks, on standard error.
remarks = _console(stderr=True)


def print_json(value: Any) -> None:
    """Print a value, or a struct, as indented JSON."""
    document = msgspec.json.format(msgspec.json.encode(value), indent=2)
    sys.stdout.write(visible_json(document) + "\n")


def print_json_line(value: Any) -> None:
    """Print a value as one line of JSON, and flush."""
    sys.stdout.write(visible_json(msgspec.json.encode(value)) + "\n")
    sys.stdout.flush()


def table(title: str, columns: Sequence[str], rows: Iterable[Sequence[object]]) -> Table:
    """Build a table; numbers are right-aligned, None is an empty cell."""
    made = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD)
    content = [list(row) for row in rows]
    for index, name in enumerate(columns):
        values = [row[index] for row in content if row[index] is not None]
        numeric = bool(values) and all(isinstance(value, int | float) for value in values)
        made.add_column(name, justify="right" if numeric else "left", overflow="fold")
    for row in content:
        made.add_row(*(text(cell) for cell in row))
    return made


def text(value: object) -> str:
    """Format a value for display."""
    match value:
        case None:
            return ""
        case bool():
            return "yes" if value else "no"
        case float():
            return f"{value:.4g}"
        case datetime():
            return f"{value.astimezone(UTC):%Y-%m-%d %H:%M:%S}"
        case _:
            return str(value)


def remark(finding: Finding) -> None:
    """Print a warning about a setting that may break a guarantee, on standard error."""
    remarks.print(f"warning: {finding}", markup=False, highlight=False)
