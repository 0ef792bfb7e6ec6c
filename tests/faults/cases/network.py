"""The broker goes away and comes back, and the network before it misbehaves.

All four services run, so that each has to come back by itself. What the archive must hold is
asked of the store: every record of `sensor.windows` in exactly one object.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from millrace.contracts.topics import SENSOR_WINDOWS
from millrace.infra.archive.catalogue import Catalogue
from millrace.infra.local.health import free_ports
from millrace.infra.local.programs import ARCHIVER, INFERENCE, STREAM_PROCESSOR, TRAINER
from tests.faults.cases.case import case
from tests.faults.cases.edge import replaying_edge, until_sent
from tests.faults.harness.plant import PARTITIONS, PATIENCE, Plant
from tests.faults.harness.proxy import Proxy
from tests.faults.harness.servers import KAFKA, Servers

#: Longest recovery after a broker's return, seconds.
RECOVERY_SECONDS: Final = 15.0
#: Predictions before and after a fault.
_SOME: Final = 100
_RATE: Final = 100.0
#: How long a service may take to end under load, seconds.
_END_SECONDS: Final = 10.0
#: The archiver writes often; the trainer, whose own cases are elsewhere, does not train.
TOLD: Final = {"MILLRACE_ARCHIVER_MAX_SECONDS": "1", "MILLRACE_TRAINER_FIRST_OUTCOMES": "0"}


@case("outage/broker-killed", own_servers=True, recovers_within=RECOVERY_SECONDS)
def broker_killed(plant: Plant) -> None:
    """SIGKILL of the broker under load, and a restart at once."""
    with_all_services(plant)
    _outage(plant, 0.0)


@case("outage/a-minute", own_servers=True, recovers_within=RECOVERY_SECONDS)
def a_minute_without_a_broker(plant: Plant) -> None:
    """The broker is away for a minute: longer than every session and transaction lasts.

    A real edge replays meanwhile: it spools to its disk, and nothing of it is lost.
    """
    with_all_services(plant)
    edge = replaying_edge(plant)
    _outage(plant, 60.0)
    until_sent(plant, edge)


@case("outage/broker-hangs", own_servers=True, recovers_within=RECOVERY_SECONDS)
def broker_hangs(plant: Plant) -> None:
    """The broker takes connections and answers nothing for half a minute."""
    with_all_services(plant)
    servers = servers_of(plant)
    with plant.source.flowing(_RATE):
        plant.until_predicted(_SOME)
        servers.kill(KAFKA, signal.SIGSTOP)
        plant.pass_time(30.0)
        servers.kill(KAFKA, signal.SIGCONT)
        recovered(plant)
    all_archived(plant)


@case("net/slow", own_servers=True, serving=False, recovers_within=RECOVERY_SECONDS)
def slow_network(plant: Plant) -> None:
    """Every frame takes 200 ms more each way."""
    with serving_behind_a_proxy(plant) as proxy, plant.source.flowing(_RATE):
        plant.until_predicted(_SOME)
        proxy.delay(0.2)
        recovered(plant)
        plant.until_predicted(3 * _SOME)


@case("net/cut", own_servers=True, serving=False, recovers_within=RECOVERY_SECONDS)
def cut_connections(plant: Plant) -> None:
    """All connections are reset every 3 s, ten times."""
    with serving_behind_a_proxy(plant) as proxy, plant.source.flowing(_RATE):
        plant.until_predicted(_SOME)
        for _ in range(10):
            plant.expect(proxy.cut() > 0, "there was no connection to cut")
            plant.fault()
            plant.pass_time(3.0)
        plant.until_recovered()
        plant.until_predicted(_SOME)


@case("net/silent", own_servers=True, serving=False, recovers_within=RECOVERY_SECONDS)
def silent_network(plant: Plant) -> None:
    """Connections stay open and nothing arrives for 20 s; then they are gone."""
    with serving_behind_a_proxy(plant) as proxy, plant.source.flowing(_RATE):
        plant.until_predicted(_SOME)
        proxy.swallow()
        plant.pass_time(20.0)
        proxy.cut()
        proxy.forward()
        recovered(plant)


@case("net/refused", own_servers=True, serving=False, recovers_within=RECOVERY_SECONDS)
def refused_connections(plant: Plant) -> None:
    """The broker cannot be reached for 20 s, and does not know it."""
    with serving_behind_a_proxy(plant) as proxy, plant.source.flowing(_RATE):
        plant.until_predicted(_SOME)
        proxy.refuse()
        proxy.cut()
        plant.pass_time(20.0)
        proxy.accept()
        recovered(plant)


@case("net/lost-commit", own_servers=True, serving=False, recovers_within=RECOVERY_SECONDS)
def lost_commits(plant: Plant) -> None:
    """The broker commits a transaction, and the answer is lost: was it, or was it not?"""
    with serving_behind_a_proxy(plant) as proxy, plant.source.flowing(_RATE):
        plant.until_predicted(_SOME)
        for number in range(1, 6):
            proxy.drop_commits(1)
            plant.until(lambda: proxy.lost_commits >= number, "a lost answer")  # noqa: B023
            recovered(plant)


@case("sigterm/trainer-and-archiver", own_plant=True)
def stop_under_load(plant: Plant) -> None:
    """Both end by themselves, in time and with status 0, and go on where they were."""
    with_all_services(plant)
    with plant.source.flowing(2 * _RATE):
        for name in (TRAINER, ARCHIVER):
            plant.until_predicted(_SOME)
            took = plant[name].stop(_END_SECONDS)
            plant.expect(took is not None, f"{name} did not end well: {plant[name].log()[-200:]}")
            plant[name].start()
            plant.fault()
        plant[TRAINER].wait_ready()
        plant.until_recovered()
    all_archived(plant)


@case("sigterm/without-a-broker", own_servers=True, recovers_within=RECOVERY_SECONDS)
def stop_in_an_outage(plant: Plant) -> None:
    """Nobody waits for a broker that is away when it is told to end."""
    with_all_services(plant)
    servers = servers_of(plant)
    names = (ARCHIVER, TRAINER, INFERENCE, STREAM_PROCESSOR)
    with plant.source.flowing(_RATE):
        plant.until_predicted(_SOME)
        servers.kill(KAFKA)
        plant.pass_time(3.0)
        for name in names:
            plant[name].stop(_END_SECONDS)
            life = plant[name].lives[-1]
            plant.expect(
                life.status in {0, -signal.SIGTERM, 70},
                f"{name} did not end by itself: status {life.status}, {plant[name].log()[-200:]}",
            )
            plant[name].start()
        servers.start(KAFKA)
        recovered(plant)
    all_archived(plant)


def _outage(plant: Plant, seconds: float) -> None:
    servers = servers_of(plant)
    with plant.source.flowing(_RATE):
        plant.until_predicted(_SOME)
        servers.kill(KAFKA)
        plant.pass_time(seconds)
        servers.start(KAFKA)
        recovered(plant)
    all_archived(plant)
    for name in (TRAINER, ARCHIVER):
        plant.until(plant[name].is_ready, f"{name} to be ready again")


def with_all_services(plant: Plant) -> None:
    """Start trainer and archiver beside the services that serve."""
    for name in (TRAINER, ARCHIVER):
        plant.start(name, environment=TOLD)
    for name in (TRAINER, ARCHIVER):
        plant[name].wait_ready()


def recovered(plant: Plant) -> None:
    """A fault is over now: wait until its effects are."""
    plant.fault()
    plant.until_recovered()
    plant.until_predicted(_SOME)


def servers_of(plant: Plant) -> Servers:
    """The plant's own servers.

    Raises:
        ValueError: It has none.
    """
    if plant.servers is None:
        raise ValueError("the case needs servers of its own")
    return plant.servers


def all_archived(plant: Plant) -> None:
    """Wait until the archive holds all windows so far, and see that it holds each of them once."""
    ends = [plant.observer.end(SENSOR_WINDOWS, partition) for partition in range(PARTITIONS)]

    def complete() -> bool:
        catalogue = Catalogue(plant.store)
        return all(
            catalogue.end(SENSOR_WINDOWS.name, partition) >= end
            for partition, end in enumerate(ends)
        )

    plant.until(complete, "all windows to be archived", PATIENCE)
    catalogue = Catalogue(plant.store)
    for partition in range(PARTITIONS):
        objects = catalogue.refresh(SENSOR_WINDOWS.name, partition)
        bounds = [(item.first, item.last + 1) for item in objects]
        before = [0, *(end for _, end in bounds)]
        wrong = [b for b, end in zip(bounds, before, strict=False) if b[0] != end]
        plant.expect(not wrong, f"archive of partition {partition} overlaps or has gaps: {wrong}")


@contextmanager
def serving_behind_a_proxy(plant: Plant) -> Iterator[Proxy]:
    """Bring up what serves, with a proxy before its broker; end it when all is processed."""
    servers = servers_of(plant)
    listener, port = free_ports(2)
    servers.kill(KAFKA, signal.SIGTERM)
    servers.start(KAFKA, environment={**os.environ, "MILLRACE_KAFKA_BEHIND": f"{listener}:{port}"})
    direct = plant.settings
    with Proxy(port, listener) as proxy:
        plant.settings = direct.model_copy(update={"kafka_bootstrap_servers": f"127.0.0.1:{port}"})
        try:
            plant.serve()
            yield proxy
        finally:
            plant.settings = direct
        plant.expect(plant.quiet(), "it did not come to rest")
        proxy.delay(0.0)
        for name in (STREAM_PROCESSOR, INFERENCE):
            took = plant.stop(name)
            plant.expect(took is not None and took < _END_SECONDS, f"{name} did not end cleanly")
