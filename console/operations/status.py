"""Running programs, serving versions, and progress of all consumers."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Final

import msgspec
from msgspec.structs import replace

from millrace.console.operations.accounts import (
    BalanceLine,
    LossLine,
    RestartLine,
    accounts,
    concerns,
    metrics_of,
    restarts,
    unsettled,
)
from millrace.console.operations.lags import LagLine, lag_lines
from millrace.console.operations.models import VersionLine, read_registry, version_lines
from millrace.console.operations.topics import TopicLine, topic_lines
from millrace.contracts.errors import ServerError
from millrace.infra.kafka.clients import admin
from millrace.infra.local.address import read_address
from millrace.infra.local.health import readiness
from millrace.infra.local.home import Home
from millrace.infra.local.supervisor import Supervisor
from millrace.infra.local.waiting import wait_until
from millrace.infra.settings import Settings
from millrace.infra.topics.partitions import partition_counts, uneven

#: How long records may be in progress without a fate before that is reported, seconds.
_SETTLE_SECONDS: Final = 4.0


class ProgramLine(msgspec.Struct, frozen=True):
    """A program, as `millrace status` shows it.

    Attributes:
        name: Its name.
        state: Its state in the process manager.
        pid: Its process id.
        uptime_seconds: How long it has been running.
        ready: Whether it reports that it is ready; None without a report.
        detail: What it is waiting for.
        log: File with its output.
    """

    name: str
    state: str
    pid: int | None
    uptime_seconds: float
    ready: bool | None
    detail: str
    log: str


class Status(msgspec.Struct, frozen=True):
    """The whole status.

    Attributes:
        kafka: Address of Kafka.
        s3: Address of the object store.
        namespace: The namespace.
        programs: Programs that were started from here.
        models: All versions of all models.
        topics: The declared topics.
        balances: Fates of the records that each service has read.
        losses: Records that expired in Kafka before a service had read them.
        lags: Unread records of each group.
        restarts: Number of restarts of each program.
        concerns: Problems although all programs may be ready: losses, an account that does not
            balance, repeated restarts.
        problem: Why not all partitions are read, and the fix; None if they are.
    """

    kafka: str
    s3: str
    namespace: str
    programs: list[ProgramLine]
    models: list[VersionLine]
    topics: list[TopicLine]
    balances: list[BalanceLine] = []
    losses: list[LossLine] = []
    lags: list[LagLine] = []
    restarts: list[RestartLine] = []
    concerns: list[str] = []
    problem: str | None = None


def program_lines(supervisor: Supervisor, telemetry: dict[str, int]) -> list[ProgramLine]:
    """Query the process manager and each service.

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


def read_status(settings: Settings) -> Status:
    """Query programs, services, Kafka and the registry.

    Raises:
        ServerError: Kafka does not answer.
    """
    home = Home.of(settings)
    address = read_address(home)
    try:
        programs = program_lines(Supervisor(home), address.telemetry if address else {})
    except ServerError:
        programs = []  # servers and services are run by another party
    telemetry = address.telemetry if address else {}
    before, _ = _accounts(telemetry)
    balances, losses = _settled_accounts(telemetry)
    started = _restarts(home)
    problem = uneven(partition_counts(admin(settings), settings))
    if problem is not None:
        # Each program notices within seconds, and is not ready until it is fixed.
        programs = [
            replace(line, ready=False, detail="waits for equal partitions") if line.ready else line
            for line in programs
        ]
    return Status(
        settings.kafka_bootstrap_servers,
        settings.s3_endpoint,
        settings.namespace,
        programs,
        version_lines(read_registry(settings)),
        topic_lines(settings),
        balances,
        losses,
        lag_lines(settings),
        started,
        concerns(before, balances, losses, started),
        problem,
    )


def _accounts(telemetry: Mapping[str, int]) -> tuple[list[BalanceLine], list[LossLine]]:
    """Read the accounts of every service that answers."""
    balances: list[BalanceLine] = []
    losses: list[LossLine] = []
    for service, port in telemetry.items():
        metrics = metrics_of(port)
        if metrics is not None:
            lines, lost = accounts(service, metrics)
            balances += lines
            losses += lost
    return balances, losses


def _settled_accounts(telemetry: Mapping[str, int]) -> tuple[list[BalanceLine], list[LossLine]]:
    """Query until every record has its fate; under traffic, that may never happen."""
    found = _accounts(telemetry)
    end = time.monotonic() + _SETTLE_SECONDS

    def settled() -> bool:
        nonlocal found
        found = _accounts(telemetry)
        return not unsettled(found[0]) or time.monotonic() > end

    if unsettled(found[0]):
        wait_until(settled, "records to be settled", seconds=4 * _SETTLE_SECONDS)
    return found


def _restarts(home: Home) -> list[RestartLine]:
    try:
        log = (home.logs / "supervisord.log").read_text(errors="replace")
    except OSError:
        return []  # no process manager runs, or has run, from here
    return restarts(log.splitlines(), time.time())
