"""A real broker and a real object store for a run, each of which a case may end and start.

Cases that leave the servers alone share one pair, in namespaces of their own. A case that
breaks them gets its own pair (`Case.own_servers`), on a folder that outlives the processes.
"""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from millrace.contracts.errors import ServerError
from millrace.infra import embedded
from millrace.infra.embedded.instance import State
from millrace.infra.embedded.lifecycle import make
from millrace.infra.embedded.process import ASK_TIMEOUT_S, state_path
from millrace.infra.local.waiting import wait_until
from tests.faults.harness.leash import leash
from tests.places import PROJECT, jar_folder

KAFKA: Final = "kafka"
S3: Final = "s3"
_START_SECONDS: Final = 60.0
_STOP_SECONDS: Final = 30.0


class Servers:
    """The servers of one folder.

    Attributes:
        home: Their folder.
    """

    def __init__(self, home: Path) -> None:
        """Describe them; `start` starts them."""
        self.home = home
        self._processes: dict[str, subprocess.Popen[bytes]] = {}

    @property
    def endpoints(self) -> embedded.Endpoints:
        """Where they answer.

        Raises:
            ServerError: They do not.
        """
        return embedded.wait(self.home)

    def pid(self, name: str) -> int | None:
        """A server's process; it becomes Java itself, so that signals go straight to it."""
        process = self._processes.get(name)
        return process.pid if process is not None and process.poll() is None else None

    def start(
        self, *names: str, environment: Mapping[str, str] | None = None, wait: bool = True
    ) -> None:
        """Start servers that do not run, on the ports that they had.

        Args:
            names: `KAFKA` or `S3`; both when none is named.
            environment: Environment of the processes; the present one when None.
            wait: Whether to wait until they answer.

        Raises:
            ServerError: They do not answer in time.
        """
        wanted = names or (KAFKA, S3)

        def answer() -> bool:
            for name in wanted:
                if self.pid(name) is None:  # it may also have found its port taken
                    self._spawn(name, environment)
            return all(self._answers(name) for name in wanted)

        for name in wanted:
            if self.pid(name) is None:
                self._spawn(name, environment)
        if wait:
            wait_until(answer, f"the servers of {self.home}", seconds=_START_SECONDS)

    def _spawn(self, name: str, environment: Mapping[str, str] | None) -> None:
        self.home.mkdir(parents=True, exist_ok=True)
        with (self.home / f"{name}.log").open("ab") as log:
            process = subprocess.Popen(
                [
                    *(sys.executable, "-m", "millrace.infra.embedded", name),
                    *("--home", str(self.home), "--cache", str(jar_folder())),
                    *("--port", "0"),  # any; on later starts the one that it had
                ],
                cwd=PROJECT,
                env=None if environment is None else {**environment},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        if name in self._processes:
            leash().untie(self._processes[name].pid)
        leash().tie(process.pid)
        self._processes[name] = process

    def _answers(self, name: str) -> bool:
        server = make(name, self.home)
        state = State.read(state_path(server))
        if self.pid(name) is None or state is None:
            return False
        try:
            server.check(state.port, ASK_TIMEOUT_S)
        except ServerError:
            return False
        return True

    def kill(self, name: str, number: int = signal.SIGKILL) -> None:
        """Send a server a signal; unless it is SIGSTOP or SIGCONT, wait for its end."""
        process = self._processes[name]
        process.send_signal(number)
        if number not in {signal.SIGSTOP, signal.SIGCONT}:
            process.wait(_STOP_SECONDS)
            leash().untie(process.pid)

    def stop(self) -> None:
        """End both, without giving them time: nobody reads what they hold any more."""
        for process in self._processes.values():
            process.kill()
        for process in self._processes.values():
            process.wait()
            leash().untie(process.pid)
