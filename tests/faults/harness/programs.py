"""A program that is kept running, and what a fault test does to it.

Real processes, as the process manager runs them: ``python -m <module>`` with its settings in
the environment, started again whenever it ends by itself, under the same name and with the
same settings. Unlike the process manager this one starts again at once, however short the
last life was, since short lives are what is tested here.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import psutil

from millrace.contracts.errors import ServerError
from millrace.infra.local.health import readiness
from millrace.infra.local.supervisor import last_words
from millrace.infra.local.waiting import wait_until
from tests.faults.harness.leash import leash
from tests.places import PROJECT

#: A life shorter than this is followed by a pause as long, seconds.
SHORT_LIFE: Final = 0.5
#: Lives after which a program is taken to be beyond help.
MOST_LIVES: Final = 60
#: How long a program may take to end when it is asked to, seconds.
STOP_SECONDS: Final = 10.0


@dataclass
class Life:
    """One process of a program.

    Attributes:
        pid: Its process id.
        began: When it was started, wall clock in seconds.
        ended: When it ended; None while it lives.
        status: Its exit status; minus the signal if one ended it.
    """

    pid: int
    began: float
    ended: float | None = None
    status: int | None = None


class Program:
    """A supervised process. Methods may be called from one thread at a time.

    Attributes:
        name: Its name, unique in a plant; also that of its log.
        lives: Its processes, oldest first.
        telemetry_port: Where it serves its health and metrics; None if it does not.
    """

    def __init__(
        self,
        name: str,
        module: str,
        environment: Mapping[str, str],
        log: Path,
        *,
        arguments: Sequence[str] = (),
        telemetry_port: int | None = None,
        ends: bool = False,
    ) -> None:
        """Describe it; `start` starts it.

        Args:
            name: Its name.
            module: What is run.
            environment: Its whole environment.
            log: Where its output goes; added to.
            arguments: Command line arguments of the module.
            telemetry_port: Where it says whether it is ready; None if it does not.
            ends: Whether it is done when it ends with status 0, and not to be started again.
        """
        self.name = name
        self.lives: list[Life] = []
        self._command = [sys.executable, "-m", module, *arguments]
        self._environment = {**environment}
        self._log = log
        self.telemetry_port = telemetry_port
        self._ends = ends
        self._stopping = threading.Event()
        self._finished = threading.Event()
        self._changed = threading.Condition()
        self._process: subprocess.Popen[bytes] | None = None
        self._thread: threading.Thread | None = None
        self._given_up = False

    def start(self) -> None:
        """Start it, and keep it running from now on."""
        if self._thread is not None and self._thread.is_alive():
            return
        self._stopping.clear()
        self._finished.clear()
        born = len(self.lives)
        self._thread = threading.Thread(target=self._supervise, name=self.name, daemon=True)
        self._thread.start()
        with self._changed:
            self._changed.wait_for(lambda: len(self.lives) > born, STOP_SECONDS)

    def rearm(self, environment: Mapping[str, str]) -> None:
        """Change its environment, from its next life on."""
        self._environment |= environment

    def kill(self) -> None:
        """SIGKILL; it is started again at once. Returns when the process is gone."""
        self._signal(signal.SIGKILL, wait=True)

    def pause(self) -> None:
        """SIGSTOP: it stays in memory and in its groups, and does nothing."""
        self._signal(signal.SIGSTOP)

    def resume(self) -> None:
        """SIGCONT."""
        self._signal(signal.SIGCONT)

    def stop(self, seconds: float = STOP_SECONDS) -> float | None:
        """SIGTERM, and SIGKILL if it does not heed it; it is not started again.

        Returns:
            Seconds that it took to end with status 0; None if it did not.
        """
        self._stopping.set()
        process, began = self._process, time.monotonic()
        if process is None or process.poll() is not None:
            self._join()
            return None
        process.send_signal(signal.SIGCONT)
        process.terminate()
        try:
            status = process.wait(seconds)
        except subprocess.TimeoutExpired:
            status = None
        took = time.monotonic() - began
        _end_session(process)
        self._join()
        return took if status == 0 else None

    def check(self) -> None:
        """Make sure that it is not beyond help.

        Raises:
            ServerError: It is; says its last words.
        """
        if self._given_up:
            raise ServerError(f"{self.name} does not stay up: {last_words(self._log)}")

    @property
    def pid(self) -> int | None:
        """Its present process."""
        process = self._process
        return process.pid if process is not None and process.poll() is None else None

    @property
    def finished(self) -> bool:
        """Whether it has ended well, and is one that does."""
        return self._finished.is_set()

    @property
    def deaths(self) -> int:
        """How often it has ended."""
        return sum(life.ended is not None for life in self.lives)

    def is_frozen(self) -> bool:
        """Whether its present process has been stopped by SIGSTOP."""
        pid = self.pid
        try:
            return pid is not None and psutil.Process(pid).status() == psutil.STATUS_STOPPED
        except psutil.NoSuchProcess:
            return False

    def is_ready(self) -> bool:
        """Whether its present process says that it does its work."""
        return self.telemetry_port is None or (
            self.pid is not None and readiness(self.telemetry_port).ready
        )

    def wait_ready(self, seconds: float = 60.0) -> None:
        """Wait until it is ready.

        Raises:
            ServerError: It is not in time.
        """
        wait_until(self.is_ready, f"{self.name} ready", seconds=seconds, meanwhile=self.check)

    def log(self) -> str:
        """The end of what it has said."""
        return self._log.read_text(errors="replace")[-4000:] if self._log.exists() else ""

    def _signal(self, number: int, *, wait: bool = False) -> None:
        """Send a signal to the present process, if there is one."""
        process = self._process
        if process is None or process.poll() is not None:
            return
        process.send_signal(number)
        if wait:
            process.wait()

    def _supervise(self) -> None:
        while not self._stopping.is_set():
            with self._log.open("ab") as log:
                process = subprocess.Popen(
                    self._command,
                    cwd=PROJECT,
                    env=self._environment,
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    start_new_session=True,
                )
            leash().tie(process.pid)
            life = Life(process.pid, time.time())
            with self._changed:
                self._process = process
                self.lives.append(life)
                self._changed.notify_all()
            status = process.wait()
            life.ended, life.status = time.time(), status
            _end_session(process)
            leash().untie(process.pid)
            if self._ends and status == 0:
                self._finished.set()
                return
            if len(self.lives) >= MOST_LIVES:
                self._given_up = True
                return
            if life.ended - life.began < SHORT_LIFE:
                self._stopping.wait(SHORT_LIFE)

    def _join(self) -> None:
        if self._thread is not None:
            self._thread.join(STOP_SECONDS)


def _end_session(process: subprocess.Popen[bytes]) -> None:
    """End a process of ours and what it has started."""
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except ProcessLookupError:
        return  # all of it has ended
    process.wait()
