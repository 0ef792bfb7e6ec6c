"""A process under measurement: started, watched, asked for its cost, ended.

Its processor time comes from the kernel, its memory as resident set (what it holds) and, where
the system tells, as proportional set (pages that it shares count in part).
"""

from __future__ import annotations

import http.client
import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Final, Self

import psutil

from millrace.contracts.errors import ServerError
from millrace.infra.local.health import free_ports, readiness
from millrace.infra.local.supervisor import last_words
from millrace.infra.local.waiting import wait_until
from millrace.infra.settings import Settings

_MIB: Final = float(1 << 20)
_READY_SECONDS: Final = 90.0
_END_SECONDS: Final = 12.0
CODE: Final = Path(__file__).resolve().parent.parent


@dataclass(frozen=True)
class Cost:
    """What a process has cost so far.

    Attributes:
        seconds: Processor time, all threads, user and system.
        rss_mib: Resident set.
        pss_mib: Proportional set; None where the system does not tell.
    """

    seconds: float
    rss_mib: float
    pss_mib: float | None


def cost_of(process: psutil.Process) -> Cost:
    """Ask the kernel.

    Raises:
        ServerError: The process has ended.
    """
    try:
        times = process.cpu_times()
        rss = process.memory_info().rss / _MIB
        try:
            pss = getattr(process.memory_full_info(), "pss", None)
        except psutil.AccessDenied:
            pss = None
    except psutil.NoSuchProcess as error:
        raise ServerError(f"process {process.pid} has ended") from error
    return Cost(times.user + times.system, rss, None if pss is None else pss / _MIB)


class Service:
    """A process; a context within which it runs.

    Args:
        name: Its name, and its log's.
        command: Command line.
        environment: What it is told beyond what it inherits.
        logs: Folder of its log.
    """

    def __init__(
        self, name: str, command: Sequence[str], environment: Mapping[str, str], logs: Path
    ) -> None:
        """Start it."""
        logs.mkdir(parents=True, exist_ok=True)
        self.name = name
        self.log = logs / f"{name}.log"
        self.port: int | None = None
        port = environment.get("MILLRACE_TELEMETRY_PORT")
        if port is not None:
            self.port = int(port)
        with self.log.open("wb") as log:
            self._process = subprocess.Popen(
                list(command),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                cwd=CODE,
                env={**os.environ, **environment},
                start_new_session=True,
            )
        self.process = psutil.Process(self._process.pid)

    def __enter__(self) -> Self:
        """Run."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """End it at once: what it has not written by now was not measured either."""
        self._process.kill()
        self._process.wait()

    def check(self) -> None:
        """Make sure that it runs.

        Raises:
            ServerError: It has ended; says its last words.
        """
        if self._process.poll() is not None:
            raise ServerError(f"{self.name} has ended: {last_words(self.log)} (log: {self.log})")

    def ended(self) -> bool:
        """Whether it has ended well.

        Raises:
            ServerError: It has ended badly.
        """
        status = self._process.poll()
        if status:
            self.check()
        return status == 0

    def ready(self) -> bool:
        """Whether it says that it does its work; one that says nothing does."""
        return self.port is None or readiness(self.port).ready

    def await_ready(self) -> None:
        """Wait until it says that it does its work.

        Raises:
            ServerError: It does not, or has ended.
        """
        wait_until(
            self.ready,
            f"{self.name} to be ready",
            seconds=_READY_SECONDS,
            meanwhile=self.check,
        )

    def await_end(self, seconds: float = _READY_SECONDS) -> None:
        """Wait until it has ended well.

        Raises:
            ServerError: It has ended badly, or not in time.
        """
        wait_until(self.ended, f"{self.name} to end", seconds=seconds)

    def end_profile(self) -> None:
        """End a service that runs under `benchmarks.profiled`, which then writes its profile."""
        self._process.send_signal(signal.SIGPROF)
        self._process.wait(_READY_SECONDS)

    def terminate(self) -> None:
        """Ask it to end, and wait."""
        self._process.terminate()
        try:
            self._process.wait(_END_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()

    def cost(self) -> Cost:
        """What it has cost so far."""
        return cost_of(self.process)

    def metrics(self) -> dict[str, float]:
        """Its Prometheus samples, by name with labels."""
        if self.port is None:
            return {}
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=5)
        try:
            connection.request("GET", "/metrics")
            text = connection.getresponse().read().decode()
        finally:
            connection.close()
        pairs = (line.rsplit(" ", 1) for line in text.splitlines() if line and line[0] != "#")
        return {name: float(value) for name, value in pairs}


def python_module(
    module: str, arguments: Sequence[str], settings: Settings, folder: Path
) -> Service:
    """Start a module of the benchmarks with settings of its own."""
    environment = {
        "TF_CPP_MIN_LOG_LEVEL": "2",
        "MILLRACE_HOME": str(settings.home),
        "MILLRACE_NAMESPACE": settings.namespace,
    }
    command = [sys.executable, "-m", module, *arguments]
    return Service(f"{settings.namespace}-{module}", command, environment, folder / "log")


def millrace(
    module: str,
    settings: Settings,
    logs: Path,
    *,
    replica: str = "0",
    more: Mapping[str, str] | None = None,
    profile: Path | None = None,
) -> Service:
    """Start one of our services, as anybody would: ``python -m <module>``.

    Args:
        module: The service.
        settings: Where and in which namespace.
        logs: Folder of its log.
        replica: Its name among its like.
        more: More environment.
        profile: Where cProfile's statistics go when `benchmarks.profiled` is told to end.
    """
    (port,) = free_ports(1)
    command = [sys.executable, "-m", module]
    if profile is not None:
        command = [sys.executable, "-m", "benchmarks.profiled", str(profile), module]
    return Service(
        f"{settings.namespace}-{module}-{replica}",
        command,
        {
            "TF_CPP_MIN_LOG_LEVEL": "2",
            "MILLRACE_HOME": str(settings.home),
            "MILLRACE_NAMESPACE": settings.namespace,
            "MILLRACE_KAFKA_PARTITIONS": str(settings.kafka_partitions),
            "MILLRACE_REPLICA": replica,
            "MILLRACE_TELEMETRY_PORT": str(port),
            **(more or {}),
        },
        logs,
    )
