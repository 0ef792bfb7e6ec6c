"""How much is measured: full, or a quick trial that shows that everything works."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from benchmarks.result import Table
from benchmarks.servers import Servers
from benchmarks.turns import Bar


@dataclass(frozen=True)
class Plan:
    """What a benchmark is asked to do.

    Attributes:
        servers: Running servers.
        bar: Where progress is shown.
        quick: Small sizes, for a trial.
        repeats: How often each contender runs; None for the benchmark's own choice.
        profile: Folder for profiles of our services; None for none. Profiling slows them, so
            the figures of such a run are of no use.
    """

    servers: Servers
    bar: Bar
    quick: bool
    repeats: int | None
    profile: Path | None = None

    def times(self, full: int) -> int:
        """How often each contender runs, if a full run has so many repeats."""
        if self.repeats is not None:
            return self.repeats
        return 1 if self.quick else full


Benchmark = Callable[[Plan], list[Table]]
