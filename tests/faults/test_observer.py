"""The harness's observer on a real broker: it sees every record once."""

from __future__ import annotations

from millrace.contracts.topics import MODEL_EVENTS, SERVING_LEDGER
from millrace.infra.kafka.clients import admin, producer
from millrace.infra.settings import Settings
from millrace.infra.topics.admin import create_topics
from tests.faults.harness.observer import Observer

TOPICS = (MODEL_EVENTS, SERVING_LEDGER)


def send(settings: Settings, *values: bytes) -> None:
    """Write records, in a transaction: its marker lies behind them."""
    client = producer(settings, {"transactional.id": settings.named("source")})
    client.init_transactions()
    client.begin_transaction()
    for value in values:
        client.produce(settings.named(MODEL_EVENTS.name), value, b"key", partition=0)
    client.commit_transaction()


def test_an_observer_reads_to_the_end_and_once_also_when_it_is_reopened(
    settings: Settings,
) -> None:
    """What is there is seen when `read_to_end` returns; a new client reads on where it was."""
    create_topics(admin(settings), settings, TOPICS)
    observer = Observer(settings, TOPICS)
    try:
        assert observer.read_to_end()
        assert observer.total == 0
        for part in ([b"1", b"2"], [b"3"]):
            send(settings, *part)
            assert observer.read_to_end()
            observer.reopen()
        assert observer.read_to_end()
        assert [record.value for record in observer.records(MODEL_EVENTS)] == [b"1", b"2", b"3"]
        assert (observer.total, observer.end(MODEL_EVENTS, 0)) == (3, 4)
    finally:
        observer.close()


def test_without_a_broker_nobody_knows_where_the_end_is(settings: Settings) -> None:
    """It says so; the case goes on waiting."""
    create_topics(admin(settings), settings, TOPICS)
    observer = Observer(settings, TOPICS)
    try:
        observer._settings = settings.model_copy(update={"kafka_bootstrap_servers": "127.0.0.1:1"})
        assert not observer.read_to_end()
    finally:
        observer.close()
