"""`millrace status`: what runs, which versions serve, how far everybody is."""

from __future__ import annotations

import msgspec
from msgspec.structs import replace
from rich.markup import escape
from rich.table import Table

from console.address import read_address, settings_of_running_system
from console.health import readiness
from console.home import Home
from console.models import VersionLine, read_registry, version_lines
from console.output import answers, print_json, remarks, table
from console.supervisor import Supervisor
from console.topics import TopicLine, topic_lines
from contracts.errors import ServerError
from infra.kafka import admin
from infra.partitions import partition_counts, uneven


class ProgramLine(msgspec.Struct, frozen=True):
    """A program, as `millrace status` shows it.

    Attributes:
        name: Its name.
        state: The process manager's word.
        pid: Its process.
        uptime_seconds: How long it has been running.
        ready: Whether it says that it does its work; None if it does not say.
        detail: What it waits for, in words.
        log: Its output.
    """

    name: str
    state: str
    pid: int | None
    uptime_seconds: float
    ready: bool | None
    detail: str
    log: str


class Status(msgspec.Struct, frozen=True):
    """The whole answer.

    Attributes:
        kafka: Where Kafka is.
        s3: Where the object store is.
        namespace: The namespace.
        programs: What runs from here.
        models: All versions of all models.
        topics: The declared topics.
        problem: Why not all partitions are read, and what mends it; None if they are.
    """

    kafka: str
    s3: str
    namespace: str
    programs: list[ProgramLine]
    models: list[VersionLine]
    topics: list[TopicLine]
    problem: str | None = None


def program_lines(supervisor: Supervisor, telemetry: dict[str, int]) -> list[ProgramLine]:
    """Ask the process manager and each service.

    Raises:
        ServerError: The process manager does not answer.
    """
    lines = []
    for state in supervisor.states():
        port = telemetry.get(state.name)
        says = readiness(port) if port is not None else None
        lines.append(
            ProgramLine(
                state.name,
                state.state,
                state.pid,
                state.uptime_seconds,
                says.ready if says else None,
                says.detail if says else "",
                state.log,
            )
        )
    return lines


def show_status(*, as_json: bool) -> None:
    """Print the status.

    Raises:
        ServerError: Nothing runs.
    """
    settings = settings_of_running_system()
    home = Home.of(settings)
    address = read_address(home)
    try:
        programs = program_lines(Supervisor(home), address.telemetry if address else {})
    except ServerError:
        programs = []  # servers and services are somebody else's to run
    problem = uneven(partition_counts(admin(settings), settings))
    if problem is not None:
        # Whoever has not noticed yet does so within seconds, and is not ready until it is mended.
        programs = [
            replace(line, ready=False, detail="waits for equal partitions") if line.ready else line
            for line in programs
        ]
    status = Status(
        settings.kafka_bootstrap_servers,
        settings.s3_endpoint,
        settings.namespace,
        programs,
        version_lines(read_registry(settings)),
        topic_lines(settings),
        problem,
    )
    if as_json:
        print_json(status)
        return
    answers.print(
        f"Kafka {status.kafka}   object store {status.s3}"
        + (f"   namespace {status.namespace}" if status.namespace else ""),
        highlight=False,
    )
    if status.problem is not None:
        remarks.print(f"[bold]not all partitions are read:[/bold] {escape(status.problem)}")
    answers.print(programs_table(programs))
    answers.print(
        table(
            "models",
            ("model", "version", "state", "serves since", "detail"),
            [(m.model, m.version, m.state, m.since, m.detail) for m in status.models],
        )
    )
    answers.print(
        table(
            "topics",
            ("topic", "partitions", "records"),
            [(t.name, t.partitions, t.records) for t in status.topics],
        )
    )


def programs_table(programs: list[ProgramLine]) -> Table:
    """The programs, for people."""
    return table(
        "programs" if programs else "programs: none run from here",
        ("program", "state", "process", "up", "says"),
        [
            (
                line.name,
                line.state.lower(),
                line.pid,
                f"{line.uptime_seconds:.0f} s",
                "" if line.ready is None else "ready" if line.ready else line.detail,
            )
            for line in programs
        ],
    )
