"""One server's Java process: starts it on a free port, waits until it answers, and stops it."""

import os
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

from millrace.contracts.errors import ServerError
from millrace.infra.embedded import instance
from millrace.infra.embedded.instance import State
from millrace.infra.embedded.kafka import Kafka
from millrace.infra.embedded.s3 import S3

STOP_TIMEOUT_S = 30.0
ASK_TIMEOUT_S = 5.0
POLL_S = 0.05

Server = Kafka | S3


def state_path(server: Server) -> Path:
    """Path of a server's state file."""
    return server.folder.with_name(f"{server.name}.json")


def choose_port(server: Server, wanted: int | None) -> int:
    """Choose a free port; by default the previous one, which clients may still use."""
    previous = State.read(state_path(server))
    last = previous.port if previous else 0
    preferred = (last, server.default_port) if wanted is None else (wanted, last)
    return instance.choose_port(*preferred)


def start(
    server: Server,
    jars: list[Path],
    wanted: int | None,
    timeout_s: float,
    started: Callable[[subprocess.Popen[bytes]], None],
) -> None:
    """Make sure that a healthy server runs on the folder: use a running one, or start one."""
    deadline = time.monotonic() + timeout_s
    while True:
        lock = instance.take_lock(server.folder)
        if lock is None:
            if _becomes_ready(server, deadline, None):
                return
            continue
        try:
            port = choose_port(server, wanted)
            # While the lock is held, the file must not name an earlier process.
            state_path(server).unlink(missing_ok=True)
            process = _spawn(server.prepare(jars, port), server, lock)
            started(process)
            State(process.pid, port).write(state_path(server))
        finally:
            # Java holds the lock from here on.
            os.close(lock)
        if _becomes_ready(server, deadline, process):
            return
        if not instance.answers(port):
            raise ServerError(f"{server.name} ended at its start: {_last_words(server)}")
        # Another process took the port between our choice and Java's start: choose again.


def _spawn(command: list[str], server: Server, lock: int) -> subprocess.Popen[bytes]:
    with _log_path(server).open("wb") as log:
        return subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            cwd=server.folder,
            pass_fds=[lock],
            # Ctrl-C must reach only the program, which stops its servers last.
            start_new_session=True,
        )


def _becomes_ready(
    server: Server, deadline: float, process: subprocess.Popen[bytes] | None
) -> bool:
    """Wait until the server answers (True) or has ended (False).

    Raises:
        ServerError: Neither happened before the deadline.
    """
    while True:
        ended = process.poll() is not None if process else not instance.is_locked(server.folder)
        if ended:
            return False
        state = State.read(state_path(server))
        try:
            if state is not None:
                server.check(state.port, ASK_TIMEOUT_S)
                return True
            doubt = "no state file"
        except ServerError as error:
            doubt = str(error)
        if time.monotonic() > deadline:
            raise ServerError(
                f"{server.name} does not answer in time ({doubt}); its log: {_log_path(server)}"
            )
        time.sleep(POLL_S)


def stop(processes: list[subprocess.Popen[bytes]]) -> None:
    """End processes together with SIGTERM, and with SIGKILL those that do not end in time."""
    for process in processes:
        process.terminate()
    deadline = time.monotonic() + STOP_TIMEOUT_S
    for process in processes:
        try:
            process.wait(max(0.0, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _log_path(server: Server) -> Path:
    return server.folder / "server.log"


def _last_words(server: Server) -> str:
    """The last line of a server's log that looks like an error."""
    lines = _log_path(server).read_text(errors="replace").splitlines()
    reasons = [line for line in lines if "ERROR" in line or "Exception" in line]
    words = (reasons or lines or ["it said nothing"])[-1].strip()
    return f"{words} (all of its log: {_log_path(server)})"
