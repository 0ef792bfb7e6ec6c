"""All cases: importing a module adds the ones that are written in it."""

from __future__ import annotations

from importlib import import_module
from importlib.util import find_spec
from typing import Final

from tests.faults.cases import CASES, Case

_MODULES: Final = (
    "kill_cases",
    "terminate_cases",
    "stall_cases",
    "rebalance_cases",
    "input_cases",
    "origin_cases",
    "artefact_cases",
    "registry_cases",
    "store_cases",
    "edge_cases",
    "trainer_cases",
    "replica_cases",
    "archive_cases",
    "record_cases",
    "random_cases",
    "network_cases",
    "disk_cases",
    "clock_cases",
    "cadence_cases",
    "changelog_cases",
    "partition_cases",
    "topic_cases",
    "broken_cases",
)


def all_cases() -> dict[str, Case]:
    """Every case by name, in the order in which they are played."""
    for module in _MODULES:
        name = f"tests.faults.{module}"
        if find_spec(name) is not None:
            import_module(name)
    return CASES
