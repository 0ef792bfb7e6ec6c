"""A disk that is full, really: a tmpfs of a few MiB under the broker or the object store.

While it is full nothing can go on; once there is space everything has to, by itself, and
nothing may be lost or be there in part.
"""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from millrace.contracts.topics import SENSOR_WINDOWS
from millrace.infra import embedded
from millrace.infra.archive.catalogue import Catalogue
from millrace.infra.archive.parquet import decode_records
from millrace.infra.local.programs import ARCHIVER
from tests.faults.cases.case import case
from tests.faults.cases.edge import owed_for, record, until_sent
from tests.faults.cases.network import TOLD, all_archived, servers_of
from tests.faults.harness.plant import PARTITIONS, Plant
from tests.faults.harness.servers import KAFKA, S3
from tests.faults.harness.small_disk import SmallDisk
from tests.places import jar_folder

_SOME: Final = 100
_RATE: Final = 100.0
#: Room for the broker's own files, and not for much more.
_BROKER_MIB: Final = 128
_STORE_MIB: Final = 32
_SPOOL_MIB: Final = 16
#: How long the disk stays full, seconds.
_FULL_SECONDS: Final = 15.0
#: The broker is started again by its supervision when it fails: that comes on top.
_RECOVERY_SECONDS: Final = 30.0
_STOP_SECONDS: Final = 30.0


@case("disk/broker", own_servers=True, recovers_within=_RECOVERY_SECONDS)
def full_broker(plant: Plant) -> None:
    """The broker cannot write, halts, and cannot start either until there is space."""
    with small_server(plant, KAFKA, _BROKER_MIB) as disk, plant.source.flowing(_RATE):
        plant.until_predicted(_SOME)
        disk.fill()
        broker = plant[KAFKA]
        plant.until(lambda: broker.deaths > 0, "the broker to halt")
        plant.pass_time(_FULL_SECONDS)
        disk.free()
        plant.fault()
        plant.until_recovered()
        plant.until_predicted(_SOME)


@case("disk/store", own_servers=True, recovers_within=_RECOVERY_SECONDS)
def full_store(plant: Plant) -> None:
    """The object store cannot write: serving goes on, and the archive catches up afterwards."""
    plant.start(ARCHIVER, environment=TOLD).wait_ready()
    with small_server(plant, S3, _STORE_MIB) as disk, plant.source.flowing(_RATE):
        plant.until_predicted(_SOME)
        archived = _records(plant)
        plant.until(lambda: _records(plant) > archived, "the archive to grow")
        disk.fill()
        began = time.monotonic()
        plant.until_predicted(_SOME)
        plant.pass_time(max(0.0, _FULL_SECONDS - (time.monotonic() - began)))
        disk.free()
        plant.fault()
        plant.until_recovered()
        all_archived(plant)
    plant.quiet()  # some windows came after that
    all_archived(plant)
    _archive_is_true(plant)


@case("disk/spool", own_servers=True, recovers_within=_RECOVERY_SECONDS)
def full_spool(plant: Plant) -> None:
    """The broker is away and the edge's disk is full: the edge waits, and goes on afterwards."""
    servers = servers_of(plant)
    recording = plant.folder / "recording"
    plant.inputs += [owed_for(window) for window in record(recording, 0)]
    with SmallDisk(plant.folder / "edge", _SPOOL_MIB) as disk:
        edge = plant.start(
            "edge",
            module="tests.faults.harness.small_disk",
            arguments=[
                *(*disk.arguments, "millrace.producers", "replay", str(recording / "dataset.toml")),
                *("--rate", "40", "--spool", str(disk.folder / "spool")),
            ],
            ends=True,
            telemetry=False,
        )
        plant.until_predicted(_SOME)
        servers.kill(KAFKA)
        disk.fill()
        plant.pass_time(_FULL_SECONDS)
        servers.start(KAFKA)
        plant.fault()
        plant.until_recovered()
        disk.free()
        until_sent(plant, edge)
        plant.expect(len(edge.lives) == 1, f"the edge has died: {edge.log()[-200:]}")


@contextmanager
def small_server(plant: Plant, name: str, mebibytes: int) -> Iterator[SmallDisk]:
    """Run a server on a small disk, kept running as any program, while the block does."""
    servers = servers_of(plant)
    servers.kill(name, signal.SIGTERM)
    with SmallDisk(servers.home / name / "data", mebibytes) as disk:
        plant.start(
            name,
            module="tests.faults.harness.small_disk",
            arguments=[
                *(*disk.arguments, "millrace.infra.embedded", name, "--home", str(servers.home)),
                *("--cache", str(jar_folder()), "--port", "0"),
            ],
            telemetry=False,
        )
        try:
            plant.until(lambda: embedded.find(servers.home) is not None, f"{name} on a small disk")
            yield disk
        finally:
            plant.programs.pop(name).stop(_STOP_SECONDS)
    servers.start(name)


def _records(plant: Plant) -> int:
    """How many windows the archive covers."""
    catalogue = Catalogue(plant.store)
    return sum(catalogue.end(SENSOR_WINDOWS.name, partition) for partition in range(PARTITIONS))


def _archive_is_true(plant: Plant) -> None:
    """Every object is whole, and its records are the topic's."""
    there = {(r.partition, r.offset): r.value for r in plant.observer.records(SENSOR_WINDOWS)}
    catalogue = Catalogue(plant.store)
    found = 0
    for partition in range(PARTITIONS):
        for item in catalogue.refresh(SENSOR_WINDOWS.name, partition):
            for kept in decode_records(plant.store.get(item.key), item.key):
                found += 1
                plant.expect(
                    there[partition, kept.offset] == kept.value,
                    f"archived record {partition}/{kept.offset} is not the topic's",
                )
    plant.expect(found == len(there), f"{found} records archived of {len(there)}")
