"""Plays cases, one after the other, and makes each one's result.

One pair of servers serves the run. A case that leaves no scars goes on with the running
system of the case before (most of a case's time would otherwise be the start of its
processes); whenever a case does not pass, or the system has seen enough, the next one gets a
fresh system. The oracle always looks at everything since the system began, so a late effect of
an earlier fault is found, too.
"""

from __future__ import annotations

import gc
import math
import secrets
import subprocess
import time
import traceback
from pathlib import Path
from types import TracebackType
from typing import Final, Self

import msgspec
from confluent_kafka import KafkaException

from millrace.contracts.errors import MillraceError
from millrace.infra import embedded
from tests.faults.cases.case import Case
from tests.faults.harness.plant import Plant
from tests.faults.harness.report import CaseResult, Verdict
from tests.faults.harness.servers import Servers
from tests.faults.harness.small_disk import NoNamespacesError
from tests.faults.harness.source import SPEC
from tests.faults.oracle.judge import Violations, judge

#: What a case may end in, beside a verdict; anything else is a mistake in the harness.
_TROUBLE: Final = (
    MillraceError,
    KafkaException,
    msgspec.MsgspecError,
    subprocess.SubprocessError,
    OSError,
    LookupError,
    ValueError,
)

#: Windows after which a running system is followed by a fresh one: all of them are judged anew
#: after each case.
_MOST_RECORDS: Final = 40_000


class Runner:
    """Owns the servers and the running system; a context."""

    def __init__(self, folder: Path, endpoints: embedded.Endpoints | None = None) -> None:
        """Start nothing yet.

        Args:
            folder: Logs, marks and the servers' data.
            endpoints: Servers to use in place of an own pair.
        """
        self.folder = folder
        self._endpoints = endpoints
        self._servers: Servers | None = None
        self._standing: Plant | None = None

    def __enter__(self) -> Self:
        """Begin."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """End everything."""
        self._discard()
        gc.collect()  # clients in reference cycles would complain of the broker's end
        if self._servers is not None:
            self._servers.stop()

    def run(self, case: Case, seed: int) -> CaseResult:
        """Play a case and judge it; whatever happens in it is its result."""
        began = time.monotonic()
        plant: Plant | None = None
        own: Servers | None = None
        try:
            if case.own_servers:
                own = Servers(self._folder_of(case, seed) / "servers")
                own.start()
            plant = self._plant(case, seed, own)
            result = self._play(case, plant, seed, began)
        except NoNamespacesError as error:
            result = _result(case, seed, Violations(), began, "skipped", f"{error}")
        except _TROUBLE as error:
            (self.folder / "errors.log").open("a").write(
                f"{case.name} seed {seed}\n{traceback.format_exc()}\n"
            )
            result = _result(case, seed, Violations(), began, "error", f"{error}")
        finally:
            if plant is not None and plant is not self._standing:
                plant.close()
            if own is not None:
                gc.collect()
                own.stop()
        full = self._standing is not None and len(self._standing.source.sent) > _MOST_RECORDS
        if not result.good or full:
            self._discard()
        return result

    def _play(self, case: Case, plant: Plant, seed: int, began: float) -> CaseResult:
        case.play(plant)
        problems = list(plant.problems)
        if not plant.quiet():
            problems.append("it did not come to rest")
        problems += plant.problems[len(problems) :]
        evidence = plant.evidence()
        found = judge(evidence, SPEC.name, case.allowed_refusals)
        differing: list[str] | None = None
        if case.compares_state and case.catches in {"", "state"}:
            differing = plant.state_differences()
        recovery = plant.recovery()
        if recovery is not None and not recovery <= case.recovers_within:
            problems.append(f"recovery took {recovery:.1f} s")
        if differing:
            problems.append(f"state differs: {', '.join(differing[:4])}")
        verdict: Verdict = "failed" if found.total or problems else "passed"
        if case.broken:
            caught = bool(differing) if case.catches == "state" else getattr(found, case.catches)
            verdict = "caught" if caught else "failed"
            problems += [] if caught else [f"the oracle finds nothing {case.catches}"]
        plant.tidy()
        return _result(
            case,
            seed,
            found,
            began,
            verdict,
            "; ".join([*problems, *found.words]),
            None if differing is None else not differing,
            None if recovery is None or math.isinf(recovery) else round(recovery, 2),
        )

    def _plant(self, case: Case, seed: int, own: Servers | None) -> Plant:
        """Find the running system, or bring one up."""
        if case.own_plant or not case.serving:
            return self._new_plant(case, seed, own)
        if self._standing is None:
            self._standing = self._new_plant(case, seed, None)
        self._standing.begin(seed)
        return self._standing

    def _new_plant(self, case: Case, seed: int, own: Servers | None) -> Plant:
        endpoints = own.endpoints if own is not None else self._shared()
        namespace = f"faults-{secrets.token_hex(4)}"
        plant = Plant(endpoints, self._folder_of(case, seed), namespace, seed, own)
        try:
            if case.serving:
                plant.serve()
        except BaseException:
            plant.close()
            raise
        return plant

    def _shared(self) -> embedded.Endpoints:
        if self._endpoints is None:
            self._servers = self._servers or Servers(self.folder / "servers")
            self._servers.start()
            self._endpoints = self._servers.endpoints
        return self._endpoints

    def _folder_of(self, case: Case, seed: int) -> Path:
        return self.folder / f"{case.name.replace('/', '-')}-{seed}"

    def _discard(self) -> None:
        if self._standing is not None:
            self._standing.close()
            self._standing = None


def _result(
    case: Case,
    seed: int,
    found: Violations,
    began: float,
    verdict: Verdict,
    detail: str,
    state_equal: bool | None = None,  # noqa: FBT001  (a column of the report)
    recovery: float | None = None,
) -> CaseResult:
    return CaseResult(
        name=case.name,
        seed=seed,
        missing=found.missing,
        duplicated=found.duplicated,
        repeated=found.repeated,
        out_of_order=found.out_of_order,
        mixed=found.mixed,
        rewound=found.rewound,
        state_equal=state_equal,
        recovery_seconds=recovery,
        seconds=round(time.monotonic() - began, 1),
        verdict=verdict,
        detail=detail,
    )
