"""What a run of the fault harness found: one line per case, and ``var/faults/report.json``."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import msgspec

from millrace.console.demo.report.report import Machine

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


def summary(report: FaultReport) -> str:
    """What a run comes to, in a line.

    >>> result = CaseResult("kill@x", 1, 0, 0, 0, 0, 0, 0, True, 1.26, 9.0, "passed")
    >>> failed = msgspec.structs.replace(result, verdict="failed", recovery_seconds=None)
    >>> summary(FaultReport(None, 75.0, [result, failed]))
    '1 of 2 cases as they should; longest recovery 1.3 s (kill@x seed 1); 1 min 15 s in all'
    """
    cases = report.cases
    skipped = sum(case.verdict == "skipped" for case in cases)
    good = sum(case.good for case in cases) - skipped
    parts = [f"{good} of {len(cases)} cases as they should"]
    if skipped:
        parts.append(f"{skipped} skipped")
    recovered = [(c.recovery_seconds, c) for c in cases if c.recovery_seconds is not None]
    if recovered:
        longest, case = max(recovered, key=lambda pair: pair[0])
        parts.append(f"longest recovery {longest:.1f} s ({case.name} seed {case.seed})")
    minutes, seconds = divmod(round(report.seconds), 60)
    parts.append(f"{minutes} min {seconds} s in all")
    return "; ".join(parts)


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
