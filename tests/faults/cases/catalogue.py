"""All cases: importing a module adds the ones that are written in it."""

from __future__ import annotations

from importlib import import_module
from typing import Final

from tests.faults.cases.case import CASES, Case

_MODULES: Final = (
    "kill",
    "terminate",
    "stall",
    "rebalance",
    "input",
    "origin",
    "artefact",
    "registry",
    "store",
    "edge",
    "trainer",
    "replica",
    "archive",
    "replay",
    "record",
    "random",
    "network",
    "disk",
    "clock",
    "cadence",
    "changelog",
    "partition",
    "topic",
    "broken",
)


def all_cases() -> dict[str, Case]:
    """Every case by name, in the order in which they are played."""
    for module in _MODULES:
        import_module(f"tests.faults.cases.{module}")
    return CASES
