"""What a run of the fault harness found: one line per case, and ``var/faults/report.json``."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import msgspec

from console.report import Machine

Verdict = Literal["passed", "failed", "error", "caught", "skipped"]


class CaseResult(msgspec.Struct, frozen=True):
    """What became of a case.

    Attributes:
        name: The case.
        seed: Seed of its input and of its random moments.
        missing: Inputs that are in neither predictions nor dead letters.
        duplicated: Predictions and dead letters beyond the first of an input.
        repeated: Stamped windows that are there twice; inference passes over the second.
        out_of_order: Predictions of an asset that stand before those of earlier windows.
        mixed: Records whose version, units or stamp are not the ledger's.
        rewound: Committed offsets that went back.
        state_equal: Whether detectors and join are those of an undisturbed run; None where
            the case does not compare them.
        recovery_seconds: From the (last) fault to the first prediction of a window that was
            sent after it; the longest, of several faults. None if there was none.
        seconds: How long the case took, its verdict included.
        verdict: ``passed``; ``failed``: the oracle or the case found something wrong;
            ``error``: the case could not be played to its end; ``caught``: a deliberately
            broken build that the oracle found out, as it should; ``skipped``: this machine
            cannot play it.
        detail: What was wrong, or why it was not played, in words.
    """

    name: str
    seed: int
    missing: int
    duplicated: int
    repeated: int
    out_of_order: int
    mixed: int
    rewound: int
    state_equal: bool | None
    recovery_seconds: float | None
    seconds: float
    verdict: Verdict
    detail: str = ""

    @property
    def good(self) -> bool:
        """Whether the case ended as it should, as far as it could be played."""
        return self.verdict in {"passed", "caught", "skipped"}


class FaultReport(msgspec.Struct, frozen=True):
    """All cases of a run."""

    machine: Machine
    seconds: float
    cases: Sequence[CaseResult]

    def write(self, path: Path) -> None:
        """Write it as JSON."""
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(msgspec.json.format(msgspec.json.encode(self), indent=2) + b"\n")


def line_of(result: CaseResult) -> str:
    """One line for people.

    >>> line_of(CaseResult("kill@x", 1, 0, 0, 0, 0, 0, 0, True, 1.26, 9.0, "passed"))
    'passed  kill@x                                         seed 1    recovered in   1.3 s   (9 s)'
    """
    took = f"({result.seconds:.0f} s)"
    recovery = (
        "" if result.recovery_seconds is None else f"recovered in {result.recovery_seconds:5.1f} s"
    )
    line = f"{result.verdict:<7} {result.name:<46} seed {result.seed:<4} {recovery:<22} {took}"
    return (line if not result.detail else f"{line}  {result.detail}").rstrip()
