"""Memory that is read back from a changelog of others' making, on a real broker."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from confluent_kafka import Producer

from millrace.contracts.topics import CHANGELOG, NORMALIZED
from millrace.infra.declare import declare_model
from millrace.infra.kafka.clients import admin, producer
from millrace.infra.settings import Settings
from millrace.infra.topics.admin import create_topics
from tests.faults.harness.source import SPEC, Source
from tests.integration.foreign_writer import transactional_producer
from tests.integration.observing import Observer, Service

pytestmark = pytest.mark.timeout(240)
_SECONDS = 120.0


def _nothing(_: Producer, __: str) -> None:
    """The changelog is empty."""


def _marker(client: Producer, topic: str) -> None:
    """Its last offset is a transaction's marker."""
    client.begin_transaction()
    client.produce(topic, b"memory", b"pump\x1fother\x1f0", partition=0)
    client.commit_transaction(10)


def _aborted(client: Producer, topic: str) -> None:
    """It holds aborted records alone."""
    client.begin_transaction()
    client.produce(topic, b"memory", b"pump\x1fother\x1f0", partition=0)
    client.flush(10)
    client.abort_transaction(10)


@pytest.mark.parametrize("write", [_nothing, _marker, _aborted])
def test_recovery_ends_where_no_record_is_at_the_end(
    settings: Settings, tmp_path: Path, write: Callable[[Producer, str], None]
) -> None:
    """Faust compares offsets of records with the log's end alone, and would wait for ever."""
    create_topics(admin(settings), settings)
    declare_model(settings, SPEC, "/test")
    write(transactional_producer(settings, "writer"), settings.named(CHANGELOG.name))
    source = Source(settings, seed=1)
    source.spoils = False
    source.send(4)
    service = Service("millrace.stream_processors", settings, tmp_path)
    observer = Observer(settings, [NORMALIZED], [service])
    try:
        observer.until(lambda: observer.count(NORMALIZED) == 4, _SECONDS, "the windows")
    finally:
        observer.close()
        service.stop()


def test_all_batches_of_a_partition_are_read_back(settings: Settings, tmp_path: Path) -> None:
    """More than one poll takes, cut into many fetches; the process goes on after them."""
    create_topics(admin(settings), settings)
    declare_model(settings, SPEC, "/test")
    client = producer(settings)
    topic = settings.named(CHANGELOG.name)
    for number in range(30_000):
        client.produce(topic, b"m" * 50, f"pump\x1fother-{number % 99}\x1f0".encode(), partition=0)
        client.poll(0)
    assert client.flush(30) == 0
    source = Source(settings, seed=1)
    source.spoils = False
    source.send(4)
    service = Service("millrace.stream_processors", settings, tmp_path)
    observer = Observer(settings, [NORMALIZED], [service])
    try:
        observer.until(lambda: observer.count(NORMALIZED) == 4, _SECONDS, "the windows")
    finally:
        observer.close()
        service.stop()
