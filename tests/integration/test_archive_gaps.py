"""The archiver on a real broker and store goes on after what it cannot archive, and notes it."""

import os
import subprocess
import sys
import time

import pytest
from confluent_kafka import TopicPartition

from millrace.archiver.archiving import Archiver
from millrace.archiver.settings import ArchiverSettings
from millrace.console.operations.archive.verify import verify_archive
from millrace.contracts.topics import MAX_BATCH_BYTES, SENSOR_WINDOWS
from millrace.infra.archive.catalogue import Catalogue
from millrace.infra.archive.gaps import BATCH, EXPIRED, HEADERS, Gap, read_gaps
from millrace.infra.archive.parquet import decode_records
from millrace.infra.kafka.clients import admin, producer
from millrace.infra.local.waiting import wait_until
from millrace.infra.object_store import ObjectStore
from millrace.infra.settings import Settings
from millrace.infra.topics.admin import create_topics
from tests.places import PROJECT

pytestmark = pytest.mark.timeout(240)
LIMITS = ArchiverSettings(max_seconds=0.3)
#: Writes a record with a header whose name is no UTF-8: aiokafka's builder in Python lets its name
#: be another kind of text, the one in C does not.
STRANGE = """
import asyncio, sys
import aiokafka
class Name(str):
    def encode(self, *_):
        return bytes([0xFF, 0xFE])
async def main():
    client = aiokafka.AIOKafkaProducer(bootstrap_servers=sys.argv[1])
    await client.start()
    await client.send_and_wait(sys.argv[2], b"strange", partition=0, headers=[(Name("x"), b"1")])
    await client.stop()
asyncio.run(main())
"""


def write(settings: Settings, *values: bytes) -> None:
    """Write records to the first partition, as one batch."""
    most = 2 * MAX_BATCH_BYTES
    client = producer(
        settings,
        {
            "message.max.bytes": most,
            "batch.size": most,
            "queue.buffering.max.kbytes": most >> 10,
            "linger.ms": 1000,
            "compression.type": "zstd",
        },
    )
    for value in values:
        client.produce(settings.named(SENSOR_WINDOWS.name), value, partition=0)
    assert client.flush(60) == 0


@pytest.fixture
def store(settings: Settings) -> ObjectStore:
    """Topics and a bucket."""
    create_topics(admin(settings), settings)
    store = ObjectStore(settings)
    store.create_bucket()
    return store


def archived(settings: Settings, store: ObjectStore, last: int) -> list[tuple[int, bytes | None]]:
    """Archive until the first partition's archive ends at an offset; tell offsets and values."""
    archiver = Archiver(settings, LIMITS, store)

    def work() -> None:
        archiver.step(time.monotonic())

    wait_until(
        lambda: Catalogue(store).end(SENSOR_WINDOWS.name, 0) > last,
        f"record {last}",
        seconds=90,
        meanwhile=work,
    )
    archiver.close()
    return [
        (record.offset, record.value)
        for item in Catalogue(store).refresh(SENSOR_WINDOWS.name, 0)
        for record in decode_records(store.get(item.key), item.key)
    ]


def test_batches_beyond_the_bound_are_skipped_and_noted(
    settings: Settings, store: ObjectStore
) -> None:
    """Two such batches beside each other: all before, between and after them is archived."""
    large = b"\0" * (MAX_BATCH_BYTES // 4 + 1)
    write(settings, b"before")
    write(settings, *[large] * 4)
    write(settings, *[large] * 5)
    write(settings, b"between")
    write(settings, *[large] * 4)
    write(settings, b"after")
    assert archived(settings, store, 15) == [(0, b"before"), (10, b"between"), (15, b"after")]
    assert read_gaps(store, SENSOR_WINDOWS.name, 0) == (
        Gap(1, 5, BATCH),
        Gap(5, 10, BATCH),
        Gap(11, 15, BATCH),
    )


def test_a_record_with_a_strange_header_is_archived_without_headers(
    settings: Settings, store: ObjectStore
) -> None:
    """The name of the header is no UTF-8, which the client cannot tell, after many usual ones."""
    write(settings, *[b"before"] * 100)
    subprocess.run(
        [
            *(sys.executable, "-c", STRANGE),
            *(settings.kafka_bootstrap_servers, settings.named(SENSOR_WINDOWS.name)),
        ],
        env={**os.environ, "AIOKAFKA_NO_EXTENSIONS": "1"},
        cwd=PROJECT,
        check=True,
    )
    write(settings, b"after")
    found = archived(settings, store, 101)
    assert found[:100] == [(number, b"before") for number in range(100)]
    assert found[100:] == [(100, b"strange"), (101, b"after")]
    assert read_gaps(store, SENSOR_WINDOWS.name, 0) == (Gap(100, 101, HEADERS),)


def test_records_that_expired_before_they_were_archived_are_a_gap(
    settings: Settings, store: ObjectStore
) -> None:
    """At the beginning of an archive, and behind its end."""
    topic = settings.named(SENSOR_WINDOWS.name)

    def expire(until: int) -> None:
        client = admin(settings)
        place = TopicPartition(topic, 0, until)
        client.delete_records([place])[place].result(30)

    write(settings, b"0", b"1", b"2")
    expire(2)
    assert archived(settings, store, 2) == [(2, b"2")]
    write(settings, b"3", b"4", b"5")
    expire(5)
    assert archived(settings, store, 5) == [(2, b"2"), (5, b"5")]
    assert read_gaps(store, SENSOR_WINDOWS.name, 0) == (Gap(0, 2, EXPIRED), Gap(3, 5, EXPIRED))
    (found,) = verify_archive(store, settings, SENSOR_WINDOWS.name)
    assert (found.records, found.problems, len(found.gaps)) == (2, (), 2)
