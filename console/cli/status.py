"""`millrace status`: running programs, serving versions, progress of consumers."""

from __future__ import annotations

from rich.markup import escape
from rich.table import Table

from millrace.console.operations.status import (
    ProgramLine,
    Status,
    read_status,
)
from millrace.console.terminal.output import answers, print_json, remarks, table
from millrace.infra.local.address import settings_of_running_system


def show_status(*, as_json: bool) -> None:
    """Print the status.

    Raises:
        ServerError: The system is not running.
    """
    status = read_status(settings_of_running_system())
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
    for concern in status.concerns:
        answers.print(f"[bold]look:[/bold] {escape(concern)}")
    answers.print(programs_table(status.programs))
    _print_accounts(status)
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


def _print_accounts(status: Status) -> None:
    """Print the balance of records, and the lag."""
    answers.print(
        table(
            "records of this life of each service",
            ("service", "topic", "partition", "read", "became", "waiting"),
            [
                (
                    line.service,
                    line.topic,
                    line.partition,
                    line.read,
                    ", ".join(f"{n} {fate}" for fate, n in sorted(line.fates.items()) if n),
                    line.waiting,
                )
                for line in status.balances
            ],
        )
    )
    answers.print(
        table(
            "lag",
            ("group", "topic", "partition", "records to read"),
            [(line.group, line.topic, line.partition, line.records) for line in status.lags],
        )
    )


def programs_table(programs: list[ProgramLine]) -> Table:
    """Build the table of programs."""
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
