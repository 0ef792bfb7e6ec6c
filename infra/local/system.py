"""Starts everything and stops everything: servers, topics, bucket, services.

Servers are started first; once they answer, topics and bucket are created; then the services are
added to the running process manager with the servers' addresses in their environment. Each
step polls a named condition. Whatever happens inside the block, the programs are stopped when it
ends.
"""

from __future__ import annotations

import gc
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import millrace
from millrace.contracts.errors import SettingsError
from millrace.infra import embedded
from millrace.infra.embedded.jars import fetch, maven
from millrace.infra.kafka.clients import admin
from millrace.infra.kafka.handshake import shake_hands
from millrace.infra.local.address import Address, shared_settings
from millrace.infra.local.health import free_ports, readiness
from millrace.infra.local.home import Home
from millrace.infra.local.lock import only_console
from millrace.infra.local.programs import (
    KAFKA,
    MODULES,
    S3,
    SERVERS,
    SERVICES,
    Program,
    servers,
    services,
)
from millrace.infra.local.supervisor import Supervisor, stop_orphans
from millrace.infra.local.waiting import wait_until
from millrace.infra.object_store import ObjectStore
from millrace.infra.settings import Settings
from millrace.infra.topics.admin import create_topics, log_finding
from millrace.infra.topics.partitions import grow, partition_counts, plan, uneven
from millrace.infra.topics.settings import Finding

_SERVERS_SECONDS: Final = 90.0
_SERVICES_SECONDS: Final = 120.0
_EMBEDDED_NAME: Final = {KAFKA: "kafka", S3: "s3"}

Tell = Callable[[str], None]


class System:
    """A running system.

    Attributes:
        settings: Settings with which it is reached.
        home: Its folders.
        supervisor: Its process manager.
        telemetry: Port of each service's health.
        embedded: Whether its servers are the embedded ones.
    """

    def __init__(
        self,
        settings: Settings,
        home: Home,
        supervisor: Supervisor,
        telemetry: dict[str, int],
        *,
        own_servers: bool,
    ) -> None:
        """Describe it; `running_system` starts it."""
        self.settings = settings
        self.home = home
        self.supervisor = supervisor
        self.telemetry = telemetry
        self.embedded = own_servers

    def waiting_for(self) -> list[str]:
        """Name the services that are not ready, and why."""
        answers = {name: readiness(port) for name, port in self.telemetry.items()}
        return [f"{name} ({a.detail})" for name, a in answers.items() if not a.ready]

    def environment(self) -> dict[str, str]:
        """Environment of a process that uses this system."""
        settings = self.settings
        return {
            **os.environ,
            "MILLRACE_HOME": str(self.home.root),
            "MILLRACE_NAMESPACE": settings.namespace,
            "MILLRACE_KAFKA_BOOTSTRAP_SERVERS": settings.kafka_bootstrap_servers,
            "MILLRACE_S3_ENDPOINT": settings.s3_endpoint,
            "MILLRACE_S3_ACCESS_KEY": settings.s3_access_key,
            "MILLRACE_S3_SECRET_KEY": settings.s3_secret_key.get_secret_value(),
        }


@contextmanager
def running_system(
    settings: Settings,
    tell: Tell,
    *,
    environment: Mapping[str, str] | None = None,
    modules: Mapping[str, str] = MODULES,
    prepare: Callable[[Settings, bool], None] = lambda *_: None,
    warn: Callable[[Finding], None] = log_finding,
) -> Iterator[System]:
    """Run the whole system while the block runs.

    Args:
        settings: Settings, from the environment and the command line.
        tell: Called with the name of each condition that is awaited.
        environment: Environment of the services, in addition to their settings.
        modules: The module of each service.
        prepare: Called once the servers answer, before topics are created, with the
            settings that reach them and whether they are the embedded ones.
        warn: Called with each setting of an existing topic that may break a guarantee; logs it by
            default.

    Raises:
        ServerError: A program does not start, or a system already runs here.
        SetupError: The embedded servers cannot be fetched.
    """
    home = Home.of(settings)
    home.create()
    with (
        only_console(home),
        _programs(settings, home, tell, environment or {}, modules, prepare, warn) as system,
    ):
        yield system


@contextmanager
def _programs(
    settings: Settings,
    home: Home,
    tell: Tell,
    environment: Mapping[str, str],
    modules: Mapping[str, str],
    prepare: Callable[[Settings, bool], None],
    warn: Callable[[Finding], None],
) -> Iterator[System]:
    supervisor = Supervisor(home)
    _take_over(home, supervisor, tell)
    own_servers = _uses_embedded_servers()
    code = Path(millrace.__file__).resolve().parent.parent
    try:
        programs: list[Program] = []
        if own_servers:
            tell("jars of the embedded servers")
            fetch(
                embedded.jar_cache(home.root),
                download=maven(os.environ.get("MILLRACE_MAVEN_REPOSITORY")),
            )
            running = [p for p in SERVERS if embedded.is_running(_EMBEDDED_NAME[p], home.root)]
            programs = [program for program in servers(home) if program.name not in running]
        supervisor.start(programs, code)
        if own_servers:
            settings, endpoints = _await_servers(settings, home, supervisor, tell)
        else:
            endpoints = {}
            shake_hands(settings)
        prepare(settings, own_servers)
        tell("topics and bucket")
        _prepare_topics(settings, tell, warn, mend=own_servers)
        ObjectStore(settings).create_bucket()
        told = {**endpoints, **environment}
        started = services(settings, free_ports(len(SERVICES)), told, modules)
        supervisor.add(started, [*programs, *started], code)
        telemetry = {p.name: p.telemetry_port for p in started if p.telemetry_port is not None}
        system = System(settings, home, supervisor, telemetry, own_servers=own_servers)
        _publish_address(system)
        _await_services(system, tell)
        yield system
    finally:
        tell("programs to end")
        home.address.unlink(missing_ok=True)
        gc.collect()  # clients in reference cycles would log errors when the broker stops
        supervisor.stop()


def _take_over(home: Home, supervisor: Supervisor, tell: Tell) -> None:
    """End programs of a killed console; we hold the home's lock, so no console is running."""
    if supervisor.is_running():
        tell("programs of an earlier run to end")
        supervisor.stop()
    stop_orphans(home)
    home.address.unlink(missing_ok=True)


def _uses_embedded_servers() -> bool:
    """Whether the settings name no servers.

    Raises:
        SettingsError: They name only one of the two.
    """
    names = ("MILLRACE_KAFKA_BOOTSTRAP_SERVERS", "MILLRACE_S3_ENDPOINT")
    named = [name for name in names if os.environ.get(name)]
    if len(named) == 1:
        (other,) = set(names) - set(named)
        raise SettingsError(
            f"{named[0]} is set but {other} is not: set both to use your own servers,"
            " or none to use the embedded ones"
        )
    return not named


def _await_servers(
    settings: Settings, home: Home, supervisor: Supervisor, tell: Tell
) -> tuple[Settings, dict[str, str]]:
    found: list[embedded.Endpoints] = []

    def answer() -> bool:
        endpoints = embedded.find(home.root)
        found[:] = [endpoints] if endpoints else []
        return bool(found)

    tell("Kafka and the object store")
    wait_until(
        answer,
        f"Kafka and the object store (their logs: {home.logs})",
        seconds=_SERVERS_SECONDS,
        meanwhile=supervisor.check,
    )
    (endpoints,) = found
    reached = settings.model_copy(
        update=Settings.read(
            kafka_bootstrap_servers=endpoints.kafka_bootstrap_servers,
            s3_endpoint=endpoints.s3_endpoint,
            s3_access_key=endpoints.s3_access_key,
            s3_secret_key=endpoints.s3_secret_key,
        ).model_dump(
            include={"kafka_bootstrap_servers", "s3_endpoint", "s3_access_key", "s3_secret_key"}
        )
    )
    return reached, endpoints.environment()


def _prepare_topics(
    settings: Settings, tell: Tell, warn: Callable[[Finding], None], *, mend: bool
) -> None:
    """Create the topics; on embedded servers complete an interrupted growth of partitions.

    Embedded servers have no other clients before everything is up, so no command could do it.

    Raises:
        ServerError: Topics keyed by asset have different numbers of partitions, and the servers
            are not embedded.
    """
    client = admin(settings)
    counts = partition_counts(client, settings)
    if mend and uneven(counts) is not None:
        for step in plan(counts, max(counts.values())):
            tell(f"{step.topic} to have {step.after} partitions, as the others")
            grow(client, step)
    create_topics(client, settings, warn=warn)


def _await_services(system: System, tell: Tell) -> None:
    def ready() -> bool:
        missing = system.waiting_for()
        if missing:
            tell(", ".join(missing))
        return not missing

    wait_until(
        ready,
        f"the services (their logs: {system.home.logs})",
        seconds=_SERVICES_SECONDS,
        meanwhile=system.supervisor.check,
    )


def _publish_address(system: System) -> None:
    keys = system.home.root / "s3" / "credentials.json"
    Address(
        console_pid=os.getpid(),
        **shared_settings(system.settings),
        s3_credentials=str(keys) if system.embedded else None,
        supervisor=str(system.home.socket),
        telemetry=system.telemetry,
    ).write(system.home)
