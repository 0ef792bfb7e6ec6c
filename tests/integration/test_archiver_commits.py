"""What the archiver commits, on a real broker: never less than before, whatever it waits for."""

from __future__ import annotations

import itertools

import pytest

from millrace.archiver.archiving import Archiver
from millrace.archiver.settings import ArchiverSettings
from millrace.contracts.topics import PREDICTIONS
from millrace.contracts.wire.groups import ARCHIVER
from millrace.infra.kafka.clients import admin, producer
from millrace.infra.kafka.place import Place
from millrace.infra.local.waiting import wait_until
from millrace.infra.object_store import ObjectStore
from millrace.infra.progress.committed import committed_offsets
from millrace.infra.settings import Settings
from millrace.infra.topics.admin import create_topics

pytestmark = pytest.mark.timeout(120)


def write(settings: Settings) -> None:
    """Write a record to the first partition, and the marker that ends its transaction."""
    client = producer(settings, {"transactional.id": "predictions"})
    client.init_transactions(30)
    client.begin_transaction()
    client.produce(settings.named(PREDICTIONS.name), b"x", partition=0)
    client.commit_transaction(30)


def committed(settings: Settings) -> int:
    """Offset that the group has committed of the partition; -1 for none."""
    found = committed_offsets(settings, ARCHIVER, {PREDICTIONS: [0]})[PREDICTIONS]
    return found[0].offset if 0 in found else -1


@pytest.mark.parametrize("restarted", [False, True])
def test_a_record_that_waits_takes_no_marker_back(
    settings: Settings,
    *,
    restarted: bool,
) -> None:
    """The marker before it stays committed while it waits for its object, and after a start."""
    create_topics(admin(settings), settings)
    store = ObjectStore(settings)
    store.create_bucket()
    write(settings)
    archiver = Archiver(settings, ArchiverSettings(max_seconds=60), store)
    clock = itertools.count(step=10)

    def work() -> None:
        archiver.step(next(clock))

    wait_until(lambda: committed(settings) == 2, "the marker", seconds=60, meanwhile=work)
    if restarted:
        archiver.close()
        archiver = Archiver(settings, ArchiverSettings(max_seconds=60), store)
        wait_until(lambda: archiver.assigned, "an assignment", seconds=60, meanwhile=work)
    write(settings)
    seen: list[int] = []

    place = Place(settings.named(PREDICTIONS.name), 0)

    def record_waits() -> bool:
        seen.append(committed(settings))
        return place in archiver._buffers and bool(archiver._buffers[place].records)

    wait_until(record_waits, "the record", seconds=60, meanwhile=work)
    for _ in range(3):
        work()
        seen.append(committed(settings))
    archiver.close()
    assert set(seen) == {2}
    assert committed(settings) >= 3
