"""Examples of the pages under docs/ports, made from the pages themselves."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType

_PORTS = Path(__file__).parents[2] / "docs" / "ports"
#: Lines that a page's example may have, blank ones apart.
MOST_LINES = 60


def example(page: str) -> ModuleType:
    """The module that a page shows in full."""
    path = _PORTS / page
    code = path.read_text().split("```python\n")[1].split("```")[0]
    assert len([line for line in code.splitlines() if line]) <= MOST_LINES
    module = ModuleType(path.stem)
    exec(compile(code, str(path), "exec"), vars(module))  # noqa: S102  (our own page)
    return module
