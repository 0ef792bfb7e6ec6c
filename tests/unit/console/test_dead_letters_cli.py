"""`millrace dead-letters` without a system: help, and errors in one line."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.unit.console.test_cli import bare_millrace, millrace


def test_help_names_the_commands(tmp_path: Path) -> None:
    """Each says what it does and what it takes."""
    done = millrace("dead-letters", "--help", home=tmp_path)
    assert done.returncode == 0
    assert [name for name in ("list", "show", "retry") if name not in done.stdout] == []
    retry = millrace("dead-letters", "retry", "--help", home=tmp_path).stdout
    options = ("--all", "--reason", "--asset", "--since", "--value", "--key", "--dry-run", "--json")
    assert [option for option in options if option not in retry] == []


@pytest.mark.parametrize(
    "arguments", [("list",), ("show", "0:1"), ("retry", "0:1"), ("retry", "--all", "--dry-run")]
)
def test_without_a_system_they_say_so_in_one_line(
    arguments: tuple[str, ...], tmp_path: Path
) -> None:
    """A bare installation misses nothing but the system itself."""
    done = bare_millrace("dead-letters", *arguments, home=tmp_path)
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.count("\n") == 1
    assert "no system is running here" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("show", "x"), "partition:offset"),
        (("list", "--since", "yesterday"), "2026-11-21T06:00"),
        (("retry",), "say which"),
        (("retry", "0:1", "--all"), "say which"),
        (("retry", "0:1", "0:2", "--key", "pump-1"), "name it"),
        (("retry", "--reason", "oversized", "--value", "-"), "name it"),
        (("retry", "0:1", "--value", "/nowhere/at/all"), "cannot be read"),
    ],
)
def test_what_makes_no_sense_is_told_before_anything_is_asked(
    arguments: tuple[str, ...], says: str, tmp_path: Path
) -> None:
    """One line and exit status 2."""
    done = millrace("dead-letters", *arguments, home=tmp_path)
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert says in done.stderr
