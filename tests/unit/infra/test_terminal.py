"""Whatever is printed is escaped, and none of it is markup, however it is printed."""

from __future__ import annotations

import ast
import io
from pathlib import Path
from typing import Final

from rich.panel import Panel
from rich.table import Table

from millrace.infra.terminal import Terminal, line
from tests.places import PROJECT

HOSTILE: Final = "pump[/a] [red]x :smile: \x1b[2J\x9b\n\u202e"
SHOWN: Final = r"pump[/a] [red]x :smile: \x1b[2J\x9b\n\u202e"
#: Programs for people: whatever they print goes through the terminal of `infra`.
FOLDERS: Final = ("console", "producers", "trainer", "inference", "stream_processors", "infra")
#: The terminal itself, and the bar of the jars, which quotes nothing.
ALLOWED: Final = frozenset({"infra/terminal.py", "infra/embedded/jars.py"})


def printed(*things: object) -> str:
    """What a terminal with colours gets, without its own sequences."""
    console = Terminal(file=io.StringIO(), width=400, force_terminal=True, color_system=None)
    for thing in things:
        console.print(thing)
    file = console.file
    assert isinstance(file, io.StringIO)
    return file.getvalue()


def test_a_text_is_one_line_of_what_it_says() -> None:
    """As a string, and as a styled line."""
    assert printed(HOSTILE, line(HOSTILE, "bold")) == f"{SHOWN}\n{SHOWN}\n"


def test_a_table_shows_its_cells_as_they_are() -> None:
    """Its title and its columns, too."""
    table = Table(title=HOSTILE)
    table.add_column(HOSTILE)
    table.add_row(HOSTILE)
    found = printed(table)
    assert found.count(SHOWN) == 3
    assert found.replace("\n", "").isprintable()


def test_a_panel_shows_its_title_as_it_is() -> None:
    """Rich takes a string there for markup, whatever the console says: hence `line`."""
    assert SHOWN in printed(Panel("", title=line(HOSTILE)))


def test_nobody_prints_past_it() -> None:
    """No module makes a console of rich's own, or a text of markup."""
    found = []
    for folder in FOLDERS:
        for path in sorted((PROJECT / folder).rglob("*.py")):
            name = path.relative_to(PROJECT).as_posix()
            if name not in ALLOWED and _prints_past(path):
                found.append(name)
    assert found == []


def _prints_past(path: Path) -> bool:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module == "rich.console":
            if any(name.name == "Console" for name in node.names):
                return True
        elif isinstance(node, ast.Attribute) and node.attr in {"from_markup", "render_markup"}:
            return True
    return False
