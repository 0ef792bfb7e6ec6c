"""Bounds of a single registry event: sizes, numbers and timestamps.

Names are checked where an event is decoded (`contracts.names`, `contracts.path_names`).

Every service reads `model.events` from its beginning at every start. So an event that makes one
service fail would make all of them fail permanently. All events that our own programs have ever
written are within these bounds.
"""

from __future__ import annotations

import re
from datetime import datetime
from typing import Final

from millrace.contracts.events.model_event import ModelEvent, Registered
from millrace.contracts.model_spec import PERSISTENCE, ModelSpec
from millrace.contracts.normaliser import Normaliser
from millrace.contracts.topics import MAX_WINDOW_BYTES

#: Largest version number: versions are part of object keys and metrics, and 32 bits in records.
MAX_VERSION: Final = (1 << 31) - 1
#: How far a version or a serving epoch may be ahead of the last one. A writer uses the next number;
#: a failed training leaves a gap.
MAX_LEAP: Final = 1_000_000
#: Longest window and horizon, seconds (a hundred years), so that their ends are valid timestamps.
MAX_SPAN_SECONDS: Final = 100 * 365.25 * 86_400
#: Readings that fit into a window's record, float32 each.
MAX_READINGS: Final = MAX_WINDOW_BYTES // 4
#: Valid years of an event's timestamp. A machine's clock may be wrong; timestamps at either limit
#: of Python's range cannot be compared in every time zone.
YEARS: Final = range(1900, 9000)

_DIGEST: Final = re.compile(r"[0-9a-f]{64}")
_SHOWN: Final = 40


def problem_of(event: ModelEvent) -> str | None:
    """Check an event by itself, independent of earlier events.

    Returns:
        Why it is out of bounds; None if it is valid.
    """
    if not 0 <= event.version <= MAX_VERSION:
        return f"version {_number(event.version)} is not from 0 to {MAX_VERSION}"
    if event.at.year not in YEARS:
        return _not_a_moment("at", event.at)
    return _registration(event) if isinstance(event, Registered) else None


def _registration(event: Registered) -> str | None:
    spec, units = event.spec, event.normaliser
    if spec.name != event.model:
        return f"its task is named {_short(spec.name)}, not {event.model}"
    problem = _task(spec)
    if problem is not None:
        return problem
    if len(units.mean) != len(spec.sensors):
        return (
            f"units of {len(units.mean)} sensors for a task of {len(spec.sensors)}:"
            " give one mean and one scale for each"
        )
    if event.version == PERSISTENCE and (
        event.artefact is not None or units != Normaliser.identity(len(spec.sensors))
    ):
        return "version 0 is persistence: it has no artefact, and physical units"
    if event.artefact is not None and not _DIGEST.fullmatch(event.artefact.digest):
        return f"artefact digest {_short(event.artefact.digest)} is no SHA-256 in hexadecimal"
    for name, moment in (("from", event.trained_from), ("until", event.trained_until)):
        if moment is not None and moment.year not in YEARS:
            return _not_a_moment(f"trained {name}", moment)
    return None


def _task(spec: ModelSpec) -> str | None:
    """Explain why no service could read this task's windows, or store its forecasts."""
    if spec.window * len(spec.sensors) > MAX_READINGS:
        return (
            f"a window of {_number(spec.window)} x {len(spec.sensors)} readings does not fit into"
            f" a record: {MAX_READINGS} do"
        )
    if spec.horizon * len(spec.target_names) > MAX_READINGS:
        return (
            f"forecasts of {_number(spec.horizon)} x {len(spec.target_names)} readings:"
            f" {MAX_READINGS} are allowed"
        )
    if max(spec.window, spec.horizon, spec.stride) * spec.period_seconds > MAX_SPAN_SECONDS:
        return "window, horizon or stride last more than a hundred years"
    return None


def _not_a_moment(what: str, moment: datetime) -> str:
    return f"{what}: year {moment.year} is not from {YEARS.start} to {YEARS.stop - 1}"


def _short(text: str) -> str:
    """A quoted text for display: escaped and truncated."""
    return ascii(text if len(text) <= _SHOWN else text[:_SHOWN] + "...")


def _number(value: int) -> str:
    """Format a number of any size."""
    return str(value) if abs(value) < 1 << 64 else "beyond 64 bits"
