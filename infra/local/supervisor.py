"""The process manager: supervisord, driven over its own Unix socket.

It runs in a session of its own, so Ctrl-C at the terminal reaches only the console, which then
stops the programs in order.
"""

from __future__ import annotations

import http.client
import os
import subprocess
import sys
import threading
import time
import xmlrpc.client
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from millrace.contracts.errors import ServerError
from millrace.infra.files import replace_file
from millrace.infra.local.home import Home
from millrace.infra.local.programs import MARK, RESTARTER, Program, render_configuration
from millrace.infra.local.unix_rpc import UnixTransport
from millrace.infra.local.waiting import wait_until

if TYPE_CHECKING:
    import psutil  # at run time only where a process is searched: `status` needs none

_ANSWER_SECONDS: Final = 5.0
#: On a busy machine an answer may be late; a request is retried for this long.
_PATIENCE_SECONDS: Final = 60.0
_START_SECONDS: Final = 20.0
_STOP_SECONDS: Final = 60.0
_ORPHAN_SECONDS: Final = 15.0
#: States in which supervisor has given up on a program, until a start is requested.
_GIVEN_UP: Final = frozenset({"FATAL", "UNKNOWN"})


@dataclass(frozen=True)
class ProgramState:
    """The process manager's report of a program.

    Attributes:
        name: Its name.
        state: Supervisor's state: STARTING, RUNNING, BACKOFF, STOPPING, EXITED, FATAL ...
        pid: Its process; None if it has none now.
        uptime_seconds: Uptime of that process.
        log: Its log file.
        detail: Supervisor's description.
    """

    name: str
    state: str
    pid: int | None
    uptime_seconds: float
    log: str
    detail: str

    @property
    def given_up(self) -> bool:
        """Whether it failed to start so often that its restarts are paused."""
        return self.state in _GIVEN_UP


class Supervisor:
    """The supervisord of one home folder; thread-safe."""

    def __init__(self, home: Home) -> None:
        """Prepare its paths; nothing is started."""
        self._home = home
        self._configuration = home.run / "supervisord.conf"
        self._pid_file = home.run / "supervisord.pid"
        self._process: subprocess.Popen[bytes] | None = None
        self._lock = threading.Lock()

    def start(self, programs: Sequence[Program], code: Path) -> None:
        """Start it with some programs.

        Raises:
            ServerError: It does not start.
        """
        self._write(programs, code)
        log = self._home.logs / "supervisord.out"
        with log.open("wb") as output:
            self._process = subprocess.Popen(
                [
                    sys.executable,
                    "-W",
                    "ignore",
                    "-m",
                    "supervisor.supervisord",
                    "-n",
                    "-c",
                    str(self._configuration),
                ],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                cwd=code,
                start_new_session=True,
            )

        def give_up() -> None:
            if self._process is not None and self._process.poll() is not None:
                raise ServerError(f"supervisord does not start: {last_words(log)}")

        wait_until(self.answers, "supervisord", seconds=_START_SECONDS, meanwhile=give_up)

    def add(self, programs: Sequence[Program], all_programs: Sequence[Program], code: Path) -> None:
        """Start more programs beside those that run.

        Args:
            programs: The new ones.
            all_programs: Old and new ones.
            code: Folder of the modules.
        """
        self._write(all_programs, code)
        self._call("reloadConfig", seconds=_PATIENCE_SECONDS)
        for program in programs:
            self._call("addProcessGroup", program.name, seconds=_PATIENCE_SECONDS)

    def remove(self, names: Sequence[str]) -> None:
        """Stop some programs and forget them."""
        for name in names:
            self._call("stopProcessGroup", name, seconds=_STOP_SECONDS)
        for name in names:
            self._call("removeProcessGroup", name)

    def answers(self) -> bool:
        """Whether it answers requests."""
        try:
            self._call("getState")
        except ServerError:
            return False
        return True

    def states(self) -> list[ProgramState]:
        """Query the states of all programs.

        Raises:
            ServerError: It does not answer; timeouts are retried for a minute.
        """
        found: list[dict[str, Any]] = self._ask("getAllProcessInfo")
        return [
            ProgramState(
                name=info["name"],
                state=info["statename"],
                pid=info["pid"] or None,
                uptime_seconds=float(info["now"] - info["start"]) if info["pid"] else 0.0,
                log=info["stdout_logfile"],
                detail=info["description"],
            )
            for info in found
            if info["name"] != RESTARTER  # the process manager's own
        ]

    def pid_of(self, program: str) -> int | None:
        """Find a program's process."""
        return next((s.pid for s in self.states() if s.name == program), None)

    def check(self) -> None:
        """Make sure, at the start of a system, that no program has been given up.

        Later on that may be an outage, which ends: `infra.local.restarter` keeps trying.

        Raises:
            ServerError: One has; quotes the last line of its log.
        """
        for state in self.states():
            if state.given_up:
                path = Path(state.log)
                raise ServerError(
                    f"{state.name} does not stay up: {last_words(path)} (its log: {path})"
                )

    def stop(self) -> None:
        """Stop all programs, last started first, and the process manager itself.

        Raises:
            ServerError: It does not end.
        """
        process = self._find()
        if process is None:
            return
        import psutil  # noqa: PLC0415

        try:
            self._call("shutdown")
        except ServerError:
            process.terminate()  # equivalent to the request
        try:
            process.wait(_STOP_SECONDS)
        except (psutil.TimeoutExpired, subprocess.TimeoutExpired):
            process.kill()
            raise ServerError(
                f"supervisord (process {process.pid}) did not end within {_STOP_SECONDS:.0f} s"
                f" and was killed; see {self._home.logs}"
            ) from None
        self._process = None

    def is_running(self) -> bool:
        """Whether one is running, started by this console or by an earlier one."""
        return self._find() is not None

    @property
    def pid(self) -> int | None:
        """Process id of supervisord."""
        found = self._find()
        return found.pid if found else None

    def _find(self) -> subprocess.Popen[bytes] | psutil.Process | None:
        """Find its process; a process id that was reused by another program does not count."""
        if self._process is not None:
            return self._process if self._process.poll() is None else None
        import psutil  # noqa: PLC0415

        try:
            process = psutil.Process(int(self._pid_file.read_text()))
            if str(self._configuration) in process.cmdline():
                return process
        except (OSError, ValueError, psutil.Error):
            pass  # no file, no number, or no such process: none runs
        return None

    def _write(self, programs: Sequence[Program], code: Path) -> None:
        replace_file(self._configuration, render_configuration(programs, self._home, code))

    def _ask(self, question: str) -> Any:
        """Call an idempotent method, with retries on timeouts."""
        patience = time.monotonic() + _PATIENCE_SECONDS
        while True:
            try:
                return self._call(question)
            except ServerError as error:
                slow = isinstance(error.__cause__, TimeoutError)
                if not slow or time.monotonic() > patience:
                    raise

    def _call(self, method: str, *arguments: object, seconds: float = _ANSWER_SECONDS) -> Any:
        proxy = xmlrpc.client.ServerProxy(
            "http://supervisor",
            transport=UnixTransport(self._home.socket, seconds),
            allow_none=True,
        )
        try:
            with self._lock, proxy:
                return getattr(proxy.supervisor, method)(*arguments)
        except xmlrpc.client.Fault as fault:
            raise ServerError(f"supervisord refuses {method}: {fault.faultString}") from fault
        except (OSError, http.client.HTTPException) as error:
            raise ServerError(f"supervisord does not answer on {self._home.socket}") from error


def stop_orphans(home: Home) -> list[str]:
    """End programs of this home whose process manager is gone.

    They are recognised by the mark and the home in their environment, both set by us. Call this
    only while no process manager of this home runs.

    Returns:
        Names of the programs that were ended.
    """
    import psutil  # noqa: PLC0415

    orphans: list[psutil.Process] = []
    names: set[str] = set()
    for process in psutil.process_iter():
        try:
            environment = process.environ()
            ours = MARK in environment and environment.get("MILLRACE_HOME") == str(home.root)
            if ours and process.pid != os.getpid():
                process.terminate()
                orphans.append(process)
                names.add(environment[MARK])
        except (psutil.Error, OSError):
            continue  # another user's, or it has just ended
    _, alive = psutil.wait_procs(orphans, timeout=_ORPHAN_SECONDS)
    for process in alive:
        process.kill()
    return sorted(names)


def last_words(log: Path) -> str:
    """The last line of a log."""
    try:
        lines = log.read_text(errors="replace").strip().splitlines()
    except OSError:
        lines = []
    return lines[-1].strip() if lines else "it said nothing"
