"""Builds the supervisor configuration of the programs. Nothing is started here.

Each program is restarted when it ends by itself, receives the stop signal together with its
children, and writes one log. Settings of a single program are in its section; everything else,
secrets from the user's environment included, is inherited.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from millrace.infra.local.home import Home
from millrace.infra.settings import Settings

KAFKA: Final = "kafka"
S3: Final = "s3proxy"
STREAM_PROCESSOR: Final = "stream-processor"
INFERENCE: Final = "inference"
TRAINER: Final = "trainer"
ARCHIVER: Final = "archiver"

SERVERS: Final = (KAFKA, S3)
SERVICES: Final = (STREAM_PROCESSOR, INFERENCE, TRAINER, ARCHIVER)

#: The module of each service.
MODULES: Final[Mapping[str, str]] = {
    STREAM_PROCESSOR: "millrace.stream_processors",
    INFERENCE: "millrace.inference",
    TRAINER: "millrace.trainer",
    ARCHIVER: "millrace.archiver",
}
#: Environment variable by which a later console recognises programs of an earlier one.
MARK: Final = "MILLRACE_PROGRAM"

_LOG_BYTES: Final = 20_000_000
#: A program that ends sooner than this counts as a failed start: it is restarted after 1, 2, 3 ...
#: seconds, and given up on after `startretries` attempts. A program that was up is restarted at
#: once. One that was given up on is restarted by `infra.local.restarter`, without a limit.
_START_SECONDS: Final = 10
_START_RETRIES: Final = 3
#: The listener that restarts programs which were given up on.
RESTARTER: Final = "restarter"
_SERVICE_STOP_SECONDS: Final = 15
_SERVER_STOP_SECONDS: Final = 30


@dataclass(frozen=True)
class Program:
    """A program that is kept running.

    Attributes:
        name: Its name in the process manager and in reports.
        command: Command line.
        priority: Lower starts earlier and stops later.
        stop_seconds: How long it may take to end before it is killed.
        environment: Variables in addition to the inherited ones.
        telemetry_port: Port of its health endpoints; None if it has none.
    """

    name: str
    command: tuple[str, ...]
    priority: int
    stop_seconds: int
    environment: Mapping[str, str] = field(default_factory=dict)
    telemetry_port: int | None = None


def servers(home: Home) -> list[Program]:
    """The embedded Kafka broker and S3 server."""
    commands = {KAFKA: "kafka", S3: "s3"}
    return [
        Program(
            name,
            (
                sys.executable,
                "-m",
                "millrace.infra.embedded",
                commands[name],
                "--home",
                str(home.root),
            ),
            priority=10,
            stop_seconds=_SERVER_STOP_SECONDS,
            environment={"MILLRACE_HOME": str(home.root)},
        )
        for name in SERVERS
    ]


def services(
    settings: Settings,
    ports: Sequence[int],
    endpoints: Mapping[str, str],
    modules: Mapping[str, str] = MODULES,
) -> list[Program]:
    """Millrace's own services.

    Args:
        settings: The settings they are to run with.
        ports: A free port for each one's telemetry, in the order of `SERVICES`.
        endpoints: Environment that names the embedded servers; empty for servers elsewhere,
            whose settings are inherited.
        modules: The module of each one.
    """
    shared = {
        "TF_CPP_MIN_LOG_LEVEL": "2",  # TensorFlow's messages about the processor are of no use
        **endpoints,
        "MILLRACE_HOME": str(settings.home.absolute()),
        "MILLRACE_NAMESPACE": settings.namespace,
    }
    return [
        Program(
            name,
            (sys.executable, "-m", modules[name]),
            priority=20,
            stop_seconds=_SERVICE_STOP_SECONDS,
            environment={**shared, "MILLRACE_TELEMETRY_PORT": str(port)},
            telemetry_port=port,
        )
        for name, port in zip(SERVICES, ports, strict=True)
    ]


def render_configuration(programs: Sequence[Program], home: Home, code: Path) -> str:
    """Write a supervisor configuration.

    Args:
        programs: The programs to run.
        home: Home of logs, socket and process id.
        code: Folder of the programs' modules.
    """
    sections = [
        _section("unix_http_server", {"file": str(home.socket), "chmod": "0700"}),
        _section(
            "supervisord",
            {
                "nodaemon": "true",
                "identifier": "millrace",
                "directory": str(code),
                "logfile": str(home.logs / "supervisord.log"),
                "logfile_maxbytes": str(_LOG_BYTES),
                "logfile_backups": "1",
                "pidfile": str(home.run / "supervisord.pid"),
                "umask": "077",
            },
        ),
        _section(
            "rpcinterface:supervisor",
            {"supervisor.rpcinterface_factory": ("supervisor.rpcinterface:make_main_rpcinterface")},
        ),
        _restarter(home),
        *(_program(program, home) for program in programs),
    ]
    return "\n".join(sections)


def _restarter(home: Home) -> str:
    return _section(
        f"eventlistener:{RESTARTER}",
        {
            "command": " ".join(
                map(_quote, (sys.executable, "-m", "millrace.infra.local.restarter"))
            ),
            "environment": f'{MARK}="{RESTARTER}",MILLRACE_HOME="{home.root}"',
            "events": "PROCESS_STATE_FATAL",
            "priority": "1",
            "autorestart": "true",
            "startsecs": "0",
            "stderr_logfile": str(log_of(RESTARTER, home)),
            "stderr_logfile_maxbytes": str(_LOG_BYTES),
            "stderr_logfile_backups": "1",
        },
    )


def _program(program: Program, home: Home) -> str:
    environment = {MARK: program.name, **program.environment}
    return _section(
        f"program:{program.name}",
        {
            "command": " ".join(_quote(word) for word in program.command),
            "environment": ",".join(f'{key}="{value}"' for key, value in environment.items()),
            "priority": str(program.priority),
            "autostart": "true",
            "autorestart": "true",
            "startsecs": str(_START_SECONDS),
            "startretries": str(_START_RETRIES),
            "stopasgroup": "true",
            "killasgroup": "true",
            "stopwaitsecs": str(program.stop_seconds),
            "redirect_stderr": "true",
            "stdout_logfile": str(log_of(program.name, home)),
            "stdout_logfile_maxbytes": str(_LOG_BYTES),
            "stdout_logfile_backups": "1",
        },
    )


def log_of(program: str, home: Home) -> Path:
    """Path of a program's log."""
    return home.logs / f"{program}.log"


def _section(name: str, values: Mapping[str, str]) -> str:
    lines = [f"{key}={value.replace('%', '%%')}" for key, value in values.items()]
    return "\n".join([f"[{name}]", *lines, ""])


def _quote(word: str) -> str:
    return f'"{word}"' if any(letter.isspace() for letter in word) else word
