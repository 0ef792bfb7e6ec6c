"""An archive of many objects: the archiver starts at once, and no record is lost in merging."""

from __future__ import annotations

import datetime as dt
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Final

from millrace.contracts.topics import OUTCOMES
from millrace.infra.archive.gaps import read_gaps, removed_until
from millrace.infra.archive.objects import ArchivedObject, Record
from millrace.infra.archive.parquet import encode_records
from millrace.infra.kafka.clients import producer
from millrace.infra.local.programs import ARCHIVER
from tests.faults.cases.case import case
from tests.faults.cases.trainer import QUICK, archived, check_archive
from tests.faults.harness.plant import Plant

_SOME: Final = 100
#: Objects of one record each, as an archiver without merging left them: two days of one partition.
_OBJECTS: Final = 10_000
#: The same of a day that is long over.
_OLD: Final = 50
_WRITERS: Final = 8
#: How long a start may take, the process's own included, seconds.
_START_SECONDS: Final = 10.0
#: How long merging all objects may take: an archiver rests as long as it merges, and shares two
#: cores with another lane. Measured: 200 to 250 s.
_MERGE_SECONDS: Final = 600.0
#: What a partition may have once all is merged by hundreds.
_FEW: Final = 250
_MERGING: Final = {
    **QUICK,
    "MILLRACE_ARCHIVER_MERGE_OBJECTS": "100",
    "MILLRACE_ARCHIVER_MERGE_SECONDS": "0.5",
    "MILLRACE_ARCHIVER_RETIRED_SECONDS": "1",
}


@case("archive/long", own_plant=True)
def long_archive(plant: Plant) -> None:
    """Thousands of small objects of an earlier build, which are merged; a start takes seconds."""
    _archive_one_by_one(plant, _OBJECTS)
    archiver = plant.start(ARCHIVER, environment=_MERGING)
    _ready_in_time(plant)
    with plant.source.flowing():
        plant.until_predicted(_SOME)
        plant.until(lambda: _count(plant) <= _FEW, "the objects to be merged", _MERGE_SECONDS)
        archiver.kill()
        plant.fault()
        _ready_in_time(plant)
        plant.until_recovered()
    check_archive(plant)
    held = archived(plant, OUTCOMES)
    lost = [offset for offset in range(_OBJECTS) if held[0, offset] != 1]
    plant.expect(not lost, f"{len(lost)} old records are not archived exactly once")


def _archive_one_by_one(plant: Plant, objects: int, date: dt.date | None = None) -> None:
    """Fill a partition of outcomes, and archive each of its records as an object of its own.

    Args:
        plant: Where.
        objects: How many.
        date: Date of the objects; None for objects of an earlier build.
    """
    client = producer(plant.settings)
    topic = plant.settings.named(OUTCOMES.name)
    for number in range(objects):
        client.produce(topic, b"%d" % number, partition=0)
        client.poll(0)
    plant.expect(client.flush(30.0) == 0, "the old records could not be written")

    def store(number: int) -> None:
        item = ArchivedObject(OUTCOMES.name, 0, number, number, date)
        plant.store.put(item.key, encode_records([Record(number, 0, None, b"%d" % number, [])]))

    with ThreadPoolExecutor(_WRITERS) as pool:
        list(pool.map(store, range(objects)))


def _ready_in_time(plant: Plant) -> None:
    began = time.monotonic()
    plant[ARCHIVER].wait_ready()
    took = time.monotonic() - began
    plant.expect(took <= _START_SECONDS, f"the archiver took {took:.1f} s to start")


def _count(plant: Plant) -> int:
    """How many objects the partition has in the store, whatever the index says."""
    return len(_keys(plant))


def _keys(plant: Plant) -> list[str]:
    return [one.key for one in plant.store.objects(f"archive/{OUTCOMES.name}/partition=0/")]


def _kill_merging(point: str) -> None:
    @case(f"kill@{point}")
    def play(plant: Plant) -> None:
        plant.start(
            ARCHIVER,
            fault=f"{point}@3=kill",
            environment={**_MERGING, "MILLRACE_ARCHIVER_MERGE_OBJECTS": "4"},
        )
        with plant.source.flowing():
            plant.await_fault()
            plant.until_recovered()
            plant.until_predicted(4 * _SOME)
        check_archive(plant)


@case("kill@archiver.between-gap-and-index", own_plant=True)
def kill_removing(plant: Plant) -> None:
    """Killed when old records are noted as removed, and are still there: they go all the same."""
    _archive_one_by_one(plant, _OLD, dt.date(2020, 1, 1))
    plant.start(
        ARCHIVER,
        fault="archiver.between-gap-and-index@1=kill",
        environment={**_MERGING, "MILLRACE_ARCHIVER_RETENTION_DAYS": "30"},
    )
    with plant.source.flowing():
        plant.await_fault()
        plant.until_recovered()
        plant.until_predicted(4 * _SOME)
        plant.until(
            lambda: not [key for key in _keys(plant) if "2020-01-01" in key],
            "the old objects to be removed",
            _MERGE_SECONDS,
        )
    check_archive(plant)
    gaps = read_gaps(plant.store, OUTCOMES.name, 0)
    plant.expect(removed_until(gaps) == _OLD, f"gaps are noted as {gaps}")


_kill_merging("archiver.between-merge-and-index")
_kill_merging("archiver.between-removal-and-index")
