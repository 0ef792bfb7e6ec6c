"""The docstring of each package is a map of its folder, and a true one."""

import ast
import re
from pathlib import Path

import pytest

from tests.places import PROJECT

ROOT = PROJECT / "millrace"
#: Lines from which a file is long, and what its first line says then.
LONG = 300
WHY = "one file, since"
#: A line of a map: a module, or a package with a slash, and what it is.
ENTRY = re.compile(r"^(\w+/?) {2,}\S", re.MULTILINE)


def packages() -> list[Path]:
    """Every package of Millrace, through the import root's links."""
    linked = [folder for folder in ROOT.iterdir() if (folder / "__init__.py").exists()]
    below = [init.parent for folder in linked for init in folder.rglob("__init__.py")]
    return sorted(below)


def contents(folder: Path) -> set[str]:
    """Names of the modules and packages in a folder."""
    modules = {path.stem for path in folder.glob("*.py")} - {"__init__", "__main__"}
    return modules | {f"{path.parent.name}/" for path in folder.glob("*/__init__.py")}


@pytest.mark.parametrize("folder", packages(), ids=lambda folder: str(folder.relative_to(ROOT)))
def test_a_map_names_everything_in_its_folder(folder: Path) -> None:
    """A module that is not named, or is named and gone, makes the map wrong."""
    text = ast.get_docstring(ast.parse((folder / "__init__.py").read_text())) or ""
    assert set(ENTRY.findall(text)) == contents(folder)


def test_a_long_file_says_why_it_is_one() -> None:
    """Its first line says why, so that nobody has to guess whether it should be several."""
    files = [path for folder in packages() for path in folder.glob("*.py")]
    long = [path for path in files if len(path.read_text().splitlines()) > LONG]
    assert long
    assert not [path for path in long if WHY not in path.read_text().splitlines()[0]]


def test_every_package_is_linked() -> None:
    """The import root links to every package of the project, and to nothing else."""
    there = {path.parent.name for path in PROJECT.glob("*/__init__.py")} - {
        "benchmarks",
        "millrace",
    }
    assert {path.name for path in ROOT.iterdir() if path.is_symlink()} == there
