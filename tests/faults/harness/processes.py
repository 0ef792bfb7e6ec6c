"""The processes of a plant: started, armed with faults, watched, and put back in order."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Final

from millrace.infra.local.health import free_ports
from millrace.infra.local.programs import INFERENCE, MODULES, STREAM_PROCESSOR
from millrace.infra.local.waiting import wait_until
from millrace.infra.settings import Settings
from tests.faults.harness.programs import Program
from tests.integration.observing import environment as environment_of

#: How long anything may take on a busy machine, seconds; nothing waits for it when it is done.
PATIENCE: Final = 90.0


class Processes:
    """Programs that run with a plant's settings.

    Attributes:
        settings: What they are told.
        folder: Logs and marks; outlives the processes.
        programs: What runs, by name.
        faults: Moments of the faults, wall clock in seconds.
        kept: Names of the programs that go on when a case is over.
    """

    def __init__(self, settings: Settings, folder: Path) -> None:
        """Start nothing yet."""
        self.settings = settings
        self.folder = folder
        self.programs: dict[str, Program] = {}
        self.faults: list[float] = []
        self.kept = {STREAM_PROCESSOR, INFERENCE}
        self._arms = 0
        self._marks = folder

    def start(
        self,
        name: str,
        *,
        replica: str = "0",
        module: str | None = None,
        fault: str = "",
        environment: Mapping[str, str] | None = None,
        arguments: Sequence[str] = (),
        ends: bool = False,
        telemetry: bool = True,
    ) -> Program:
        """Start a program and keep it running.

        Args:
            name: ``stream-processor``, ``inference``, ``trainer``, ``archiver``, or any name
                together with ``module``. Replicas other than 0 are called ``<name>-<replica>``.
            replica: Its name among its like.
            module: What is run in place of the service's own module.
            fault: See `infra.process.fault_points.parse`; `await_fault` waits for it.
            environment: What it is told beside the plant's settings; it wins over them.
            arguments: Its command line arguments.
            ends: Whether it is done when it ends with status 0.
            telemetry: Whether it serves its health, so that `Program.wait_ready` works.
        """
        called = name if replica == "0" else f"{name}-{replica}"
        (port,) = free_ports(1) if telemetry else (0,)
        told = {
            **environment_of(self.settings),
            "TF_CPP_MIN_LOG_LEVEL": "2",
            "MILLRACE_REPLICA": replica,
            "MILLRACE_TELEMETRY_PORT": str(port),
            **self._armed(fault),
            **(environment or {}),
        }
        program = Program(
            called,
            module or MODULES[name],
            told,
            self.folder / f"{called}.log",
            arguments=arguments,
            telemetry_port=port or None,
            ends=ends,
        )
        self.programs[called] = program
        program.start()
        return program

    def __getitem__(self, name: str) -> Program:
        """A program by its name."""
        return self.programs[name]

    def stop(self, name: str) -> float | None:
        """End a program and forget it; see `Program.stop`."""
        return self.programs.pop(name).stop()

    def arm(self, name: str, fault: str) -> None:
        """Start a program anew, with a fault waiting at one of its points."""
        program = self.programs[name]
        program.rearm(self._armed(fault))
        program.stop()
        program.start()

    def await_fault(self, seconds: float = PATIENCE) -> None:
        """Wait until the fault that was armed last has happened, and note when.

        Raises:
            ServerError: It does not happen in time.
        """
        folder = self._marks
        self.until(lambda: folder.exists() and any(folder.iterdir()), "the fault", seconds)
        self.fault(max(mark.stat().st_mtime for mark in folder.iterdir()))

    def _armed(self, fault: str) -> dict[str, str]:
        self._arms += 1
        self._marks = self.folder / "marks" / str(self._arms)
        self._marks.mkdir(parents=True)
        return {"MILLRACE_FAULT": fault, "MILLRACE_FAULT_MARKS": str(self._marks)}

    def fault(self, at: float | None = None) -> None:
        """Note the moment of a fault (or of its end, for one that lasts): recovery counts.

        Args:
            at: Wall clock in seconds; now when None.
        """
        self.faults.append(time.time() if at is None else at)

    def until(self, condition: Callable[[], bool], what: str, seconds: float = PATIENCE) -> None:
        """Wait for a condition.

        Raises:
            ServerError: It does not come in time, or a program is beyond help.
        """
        wait_until(condition, what, seconds=seconds, meanwhile=self.check)

    def pass_time(self, seconds: float) -> None:
        """Let a fault last, or come at its seeded moment; programs are watched meanwhile."""
        end = time.monotonic() + seconds
        self.until(lambda: time.monotonic() >= end, "time to pass", seconds + PATIENCE)

    def check(self) -> None:
        """Make sure that every program stays up.

        Raises:
            ServerError: One does not.
        """
        for program in self.programs.values():
            program.check()

    def tidy(self) -> None:
        """End what a case has started beside what is kept, and lift what it armed."""
        for name in list(self.programs):
            if name not in self.kept:
                self.stop(name)
            else:
                self.programs[name].rearm({"MILLRACE_FAULT": ""})
