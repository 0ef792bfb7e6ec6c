"""Reading topics without a group, on a real broker."""

from __future__ import annotations

import pytest
from confluent_kafka import TopicPartition

from millrace.contracts.topics import MODEL_EVENTS
from millrace.infra.kafka.clients import admin, producer
from millrace.infra.kafka.log_reader import LogReader, read_all
from millrace.infra.settings import Settings
from millrace.infra.topics.admin import create_topics

pytestmark = pytest.mark.timeout(120)


def write(settings: Settings, count: int) -> None:
    """Write records, numbered from 0."""
    client = producer(settings)
    for number in range(count):
        client.produce(settings.named(MODEL_EVENTS.name), b"%d" % number)
    assert client.flush(30) == 0


def test_what_has_expired_is_passed_over_silently(
    settings: Settings, capfd: pytest.CaptureFixture[str]
) -> None:
    """A log begins where its first record is; the client has nothing to say about it."""
    client = admin(settings)  # kept: its answers end with it
    create_topics(client, settings)
    write(settings, 5)
    gone = TopicPartition(settings.named(MODEL_EVENTS.name), 0, 3)
    for done in client.delete_records([gone]).values():
        done.result(30)
    assert [message.value() for message in read_all(settings, MODEL_EVENTS)] == [b"3", b"4"]
    assert "offset reset" not in capfd.readouterr().err


def test_the_end_is_reached_with_its_last_record(settings: Settings) -> None:
    """However often it is asked: the client's own position may be ahead of its records."""
    create_topics(admin(settings), settings)
    log = LogReader(settings, [MODEL_EVENTS])
    try:
        for _ in range(100):
            write(settings, 1)
            assert len(list(log.read_to_end())) == 1
        assert list(log.read_to_end()) == []
    finally:
        log.close()
