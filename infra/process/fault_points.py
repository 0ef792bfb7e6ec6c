"""Named points at which tests inject faults, to verify the guarantees on the real processes.

A service calls `reached` at each point, which normally does nothing; in a fault test, settings
name a point, how often it has to be reached, and the action. A fault happens once: a marker file
outlives the process, so that the restarted process continues undisturbed.

>>> parse("inference.before-commit@3=kill")
[Fault(point='inference.before-commit', times=3, action='kill')]
"""

from __future__ import annotations

import os
import re
import signal
import threading
from collections import Counter
from pathlib import Path
from typing import Final, Literal, NamedTuple, cast, get_args

import structlog

from millrace.contracts.errors import MillraceError, SettingsError

_log = structlog.get_logger(__name__)

Action = Literal["kill", "hang", "raise"]

#: Every point that a service reaches.
POINTS: Final = frozenset(
    {
        "edge.before-output",
        "edge.before-confirmation",
        "stream-processor.before-output",
        "stream-processor.between-output-and-state",
        "stream-processor.between-state-and-acknowledgement",
        "inference.before-output",
        "inference.between-output-and-offsets",
        "inference.before-commit",
        "inference.after-commit",
        "archiver.before-output",
        "archiver.between-output-and-commit",
        "archiver.between-merge-and-index",
        "archiver.between-gap-and-index",
        "archiver.between-removal-and-index",
        "replay.before-output",
        "replay.after-output",
        "trainer.before-registered",
        "trainer.between-registered-and-verdict",
    }
)
_FORM: Final = re.compile(r"(?P<point>[a-z.-]+)@(?P<times>[1-9][0-9]*)=(?P<action>[a-z]+)")


class InjectedError(MillraceError):
    """A failure that a test injected."""


class Fault(NamedTuple):
    """An action, taken the ``times``-th time that ``point`` is reached."""

    point: str
    times: int
    action: Action


class _Plan:
    """The faults of this process."""

    def __init__(self) -> None:
        self.faults: list[Fault] = []
        self.marks = Path()
        self.seen: Counter[str] = Counter()


_plan = _Plan()


def parse(text: str) -> list[Fault]:
    """Parse faults, ``point@times=action`` separated by commas.

    Raises:
        SettingsError: The text is not of that form, or there is no such point or action.
    """
    faults = []
    for part in filter(None, text.split(",")):
        match = _FORM.fullmatch(part.strip())
        if match is None or match["point"] not in POINTS or match["action"] not in get_args(Action):
            raise SettingsError(
                f"MILLRACE_FAULT: {part!r} is not point@times=action; points: "
                f"{', '.join(sorted(POINTS))}; actions: {', '.join(get_args(Action))}"
            )
        faults.append(Fault(match["point"], int(match["times"]), cast(Action, match["action"])))
    return faults


def arm(text: str, marks: Path) -> None:
    """Arm faults in this process; called once, by a service's main.

    Args:
        text: See `parse`; empty for none.
        marks: Folder for the marker files of faults that have happened.
    """
    _plan.faults = parse(text)
    _plan.marks = marks
    _plan.seen.clear()


def reached(point: str) -> None:
    """Note that the process has reached a point; a fault that is armed here happens now.

    Raises:
        InjectedError: A fault with the action ``raise``.
    """
    if not _plan.faults:
        return
    _plan.seen[point] += 1
    for fault in _plan.faults:
        if fault.point == point and _plan.seen[point] >= fault.times and _first_time(fault):
            _happen(fault)


def _first_time(fault: Fault) -> bool:
    """Create the fault's marker file; False if it exists already."""
    mark = _plan.marks / f"{fault.point}@{fault.times}={fault.action}"
    try:
        mark.touch(exist_ok=False)
    except FileExistsError:
        return False
    return True


def _happen(fault: Fault) -> None:
    _log.warning("fault injected", point=fault.point, action=fault.action)
    match fault.action:
        case "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        case "hang":
            threading.Event().wait()
        case "raise":
            raise InjectedError(f"a failure was asked for at {fault.point}")
