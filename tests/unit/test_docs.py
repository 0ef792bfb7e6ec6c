"""Pages that people read: no line of prose is too long, and links lead somewhere."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.places import PROJECT

#: Characters of a line of prose; tables, code and long links are as they are.
MOST = 110
PAGES = sorted(
    [PROJECT / "README.md", PROJECT / "CHANGELOG.md", *(PROJECT / "docs").rglob("*.md")],
)
LINK = re.compile(r"\]\(([^)#:]+)(?:#[^)]*)?\)")
each = pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(PROJECT)))


def prose(page: Path) -> Iterator[tuple[int, str]]:
    """Lines that are neither code nor of a table, with their numbers."""
    is_code = False
    for number, line in enumerate(page.read_text().splitlines(), 1):
        if line.lstrip().startswith("```"):
            is_code = not is_code
        elif not is_code and not line.lstrip().startswith("|"):
            yield number, line


@each
def test_lines_of_prose_are_short(page: Path) -> None:
    """A line is at most as wide as it can be read beside another window."""
    long = [number for number, line in prose(page) if len(line) > MOST and " " in line.strip()]
    assert long == []


@each
def test_links_lead_somewhere(page: Path) -> None:
    """A page that was renamed leaves no link behind."""
    lost = [
        target
        for _, line in prose(page)
        for target in LINK.findall(line)
        if not (page.parent / target).exists()
    ]
    assert lost == []
