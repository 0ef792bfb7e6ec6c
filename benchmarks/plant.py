"""The whole system under a steady load: servers, services, an edge, and nothing else.

Everything runs as with `millrace up`, on the benchmark's servers; training is switched off and
a network of the real architecture serves, so that a run measures the way of a window and not
whatever a training happens to take.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import msgspec
import psutil

from benchmarks.namespaces import remove_topics
from benchmarks.plan import Plan
from benchmarks.release import serve_network, units_of
from benchmarks.service import Cost, Service, cost_of
from benchmarks.steady_edge import Sent, Step
from benchmarks.windows import SOURCE
from millrace.contracts.errors import ServerError
from millrace.infra.declare import declare_model
from millrace.infra.local.programs import SERVERS
from millrace.infra.local.system import System, running_system
from millrace.infra.settings import Settings
from millrace.producers.sources.simulate import SPEC, quiet_windows
from millrace.trainer.settings import KEPT

#: Nothing but a request makes the trainer train: an alarm would wait for more outcomes than come.
NO_TRAINING: Final = {
    "MILLRACE_TRAINER_FIRST_OUTCOMES": "0",
    "MILLRACE_TRAINER_DRIFT_OUTCOMES": str(KEPT),
    "MILLRACE_TRAINER_MAX_AGE_DAYS": "0",
}
#: Windows that the network's units are fitted to: all of the quiet days.
UNITS_WINDOWS: Final = 10_800


@dataclass(frozen=True)
class Plant:
    """A running system.

    Attributes:
        system: It.
        broker: Process of the broker, if it is ours.
        folder: Folder for files.
    """

    system: System
    broker: psutil.Process | None
    folder: Path

    @property
    def settings(self) -> Settings:
        """How to reach it."""
        return self.system.settings

    def costs(self) -> dict[str, Cost]:
        """What each process has cost so far, by name; one that has just ended is left out."""
        found: dict[str, Cost] = {}
        programs = {s.name: s.pid for s in self.system.supervisor.states() if s.pid}
        named = {name: pid for name, pid in programs.items() if name not in SERVERS}
        if self.broker is not None:
            named["kafka"] = self.broker.pid
        for name, pid in named.items():
            try:
                found[name] = cost_of(psutil.Process(pid))
            except (psutil.NoSuchProcess, ServerError):
                continue
        return found

    def edge(self, steps: Sequence[Step]) -> Service:
        """Start an edge that sends at one rate after another; its log has a line for each."""
        plan = self.folder / "edge.json"
        plan.write_bytes(msgspec.json.encode(list(steps)))
        return self._start("edge", ["benchmarks.steady_edge", str(plan)])

    def observer(self, target: Path) -> Service:
        """Start the reader of predictions; it writes its file when it is told to end."""
        return self._start("arrivals", ["benchmarks.arrivals", str(target)])

    def _start(self, name: str, command: Sequence[str]) -> Service:
        environment = self.system.environment()
        return Service(name, [sys.executable, "-m", *command], environment, self.folder)


def sent_of(edge: Service) -> list[Sent]:
    """Read which steps an edge has done so far."""
    lines = edge.log.read_text().splitlines()
    return [msgspec.json.decode(line, type=Sent) for line in lines if line.startswith("{")]


@contextmanager
def running_plant(plan: Plan, name: str) -> Iterator[Plant]:
    """Run a system while the block does.

    Args:
        plan: The benchmark's plan.
        name: Namespace.

    Raises:
        ServerError: Something does not start.
    """
    settings = Settings.read(namespace=name, home=plan.servers.home)
    tell = plan.bar.begin
    remove_topics(settings)
    with running_system(settings, lambda _: None, environment=NO_TRAINING) as system:
        tell("a network is put into service")
        declare_model(system.settings, SPEC, SOURCE)
        some = list(quiet_windows(UNITS_WINDOWS, datetime.now(UTC)))
        serve_network(system.settings, SPEC, units_of(some))
        folder = plan.servers.folder / "log" / name
        folder.mkdir(parents=True, exist_ok=True)
        yield Plant(system, plan.servers.broker, folder)
