"""Start, find and stop the embedded servers of one home folder.

There are two ways to run them. `servers` is for a program that owns them: both start in parallel,
are healthy when the block begins, and have ended when it ends. `run_in_foreground` is for a
process manager: it prepares one server and then *becomes* its Java process, so that signals reach
it directly. Neither starts a second server on a folder: `servers` uses one that already runs, and
leaves it running.
"""

import os
import signal
import subprocess
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from millrace.contracts.errors import ServerError
from millrace.infra.embedded import instance
from millrace.infra.embedded.instance import State
from millrace.infra.embedded.jars import Download, fetch
from millrace.infra.embedded.kafka import Behind, Kafka
from millrace.infra.embedded.process import (
    ASK_TIMEOUT_S,
    POLL_S,
    STOP_TIMEOUT_S,
    Server,
    choose_port,
    start,
    state_path,
    stop,
)
from millrace.infra.embedded.s3 import S3

START_TIMEOUT_S = 60.0


@dataclass(frozen=True)
class Endpoints:
    """Addresses of both servers, and the key pair of the object store."""

    kafka_bootstrap_servers: str
    s3_endpoint: str
    s3_access_key: str
    s3_secret_key: str = field(repr=False)

    def environment(self) -> dict[str, str]:
        """The same as environment variables, for a process that uses the servers."""
        return {
            "MILLRACE_KAFKA_BOOTSTRAP_SERVERS": self.kafka_bootstrap_servers,
            "MILLRACE_S3_ENDPOINT": self.s3_endpoint,
            "MILLRACE_S3_ACCESS_KEY": self.s3_access_key,
            "MILLRACE_S3_SECRET_KEY": self.s3_secret_key,
        }


def jar_cache(home: Path) -> Path:
    """Default folder of the jars of a home folder."""
    return home.resolve() / "jars"


def make(name: str, home: Path) -> Server:
    """Build the server of a name: ``kafka`` or ``s3``."""
    return Kafka(home) if name == Kafka.name else S3(home)


@contextmanager
def servers(
    home: Path,
    *,
    cache: Path | None = None,
    ports: tuple[int | None, int | None] = (None, None),
    timeout_s: float = START_TIMEOUT_S,
    download: Download | None = None,
) -> Iterator[Endpoints]:
    """Run both servers while the block runs.

    Args:
        home: Folder for their data. A server that already runs on it is used and left running.
        cache: Folder of the jars; by default within `home`.
        ports: Ports of Kafka and S3, if they are free, else any; by default those of the
            previous run, or the usual ones; 0 for any.
        timeout_s: Seconds that each may take until it answers.
        download: Downloads a missing jar.

    Raises:
        ServerError: A server cannot be started; the message says why.
        SetupError: A jar cannot be fetched.
    """
    jars = fetch(cache or jar_cache(home), download=download)
    kafka, s3 = Kafka(home), S3(home)
    pair: tuple[Server, Server] = (kafka, s3)
    started: list[subprocess.Popen[bytes]] = []
    try:
        with ThreadPoolExecutor(len(pair)) as pool:
            starts = [
                pool.submit(start, server, jars[server.name], port, timeout_s, started.append)
                for server, port in zip(pair, ports, strict=True)
            ]
        for begun in starts:
            begun.result()
        yield _endpoints(kafka, s3)
    finally:
        stop(started)


def run_in_foreground(
    name: str,
    home: Path,
    *,
    cache: Path | None = None,
    port: int | None = None,
    behind: Behind | None = None,
    download: Download | None = None,
) -> None:
    """Prepare a server and become its Java process; on success this does not return.

    The state file is complete before Java starts, so that clients know the port.

    Args:
        name: ``kafka`` or ``s3``.
        home: Folder for its data.
        cache: Folder of the jars; by default within `home`.
        port: As in `servers`.
        behind: A second listener of Kafka, for tests.
        download: Downloads a missing jar.

    Raises:
        ServerError: The server already runs on that folder, or its data cannot be used.
        SetupError: A jar cannot be fetched.
    """
    server = Kafka(home, behind) if name == Kafka.name else S3(home)
    jars = fetch(cache or jar_cache(home), [name], download=download)[name]
    lock = instance.take_lock(server.folder)
    if lock is None:
        raise ServerError(f"{name} runs on {server.folder} already; it is left alone")
    chosen = choose_port(server, port)
    # From here on the file names the process that holds the lock, which `halt` may signal.
    State(os.getpid(), chosen).write(state_path(server))
    command = server.prepare(jars, chosen)
    os.set_inheritable(lock, True)
    os.chdir(server.folder)
    os.execv(command[0], command)  # noqa: S606  # no shell is the point


def find(home: Path, timeout_s: float = ASK_TIMEOUT_S) -> Endpoints | None:
    """Return the addresses of both servers of a home folder, or None if one does not answer."""
    kafka, s3 = Kafka(home), S3(home)
    for server in (kafka, s3):
        state = State.read(state_path(server))
        if state is None or not instance.is_locked(server.folder):
            return None
        try:
            server.check(state.port, timeout_s)
        except ServerError:
            return None
    return _endpoints(kafka, s3)


def is_running(name: str, home: Path) -> bool:
    """Whether a server runs, or is starting, on its folder."""
    return instance.is_locked(make(name, home).folder)


def wait(home: Path, timeout_s: float = START_TIMEOUT_S) -> Endpoints:
    """Wait until both servers, started by a process manager, answer.

    Raises:
        ServerError: One does not answer in time.
    """
    deadline = time.monotonic() + timeout_s
    while True:
        endpoints = find(home)
        if endpoints is not None:
            return endpoints
        if time.monotonic() > deadline:
            raise ServerError(
                f"the embedded servers of {home} did not answer within {timeout_s:.0f} s; "
                "their logs say why"
            )
        time.sleep(POLL_S)


def halt(name: str, home: Path, timeout_s: float = STOP_TIMEOUT_S) -> bool:
    """Stop a server that an earlier program left running.

    Returns:
        Whether one was running.

    Raises:
        ServerError: It does not end.
    """
    server = make(name, home)
    state = State.read(state_path(server))
    # While the lock is held, the process id in the state file is the holder's.
    if state is None or not instance.is_locked(server.folder):
        return False
    os.kill(state.pid, signal.SIGTERM)
    deadline = time.monotonic() + timeout_s
    while instance.is_locked(server.folder):
        if time.monotonic() > deadline:
            raise ServerError(f"{name} (process {state.pid}) does not end; end it by hand")
        time.sleep(POLL_S)
    return True


def _endpoints(kafka: Kafka, s3: S3) -> Endpoints:
    states = [State.read(state_path(server)) for server in (kafka, s3)]
    ports = [state.port if state else 0 for state in states]
    pair = s3.credentials()
    return Endpoints(
        kafka_bootstrap_servers=f"{instance.LOOPBACK}:{ports[0]}",
        s3_endpoint=f"http://{instance.LOOPBACK}:{ports[1]}",
        s3_access_key=pair.access_key,
        s3_secret_key=pair.secret_key,
    )
