"""Examples of the pages under docs/ports, made from the pages themselves."""

from __future__ import annotations

import sys
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
    module = sys.modules[f"page_{path.stem}"] = ModuleType(f"page_{path.stem}")
    exec(compile(code, str(path), "exec", dont_inherit=True), vars(module))  # noqa: S102  (our page)
    return module
