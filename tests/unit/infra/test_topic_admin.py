"""Creating topics when no broker can take them yet, or none answers."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import Future
from typing import Any

import pytest
from confluent_kafka import KafkaError, KafkaException
from confluent_kafka.admin import NewTopic

from millrace.contracts.errors import ServerError
from millrace.infra.kafka.clients import admin
from millrace.infra.local.health import free_ports
from millrace.infra.settings import Settings
from millrace.infra.topics import admin as topic_admin


class _Starting:
    """What a controller answers right after its start: one topic is refused a few times."""

    def __init__(self, refusals: int) -> None:
        self.refusals = refusals
        self.asked: list[list[str]] = []

    def create_topics(self, wanted: Sequence[NewTopic], **_: float) -> dict[str, Future[None]]:
        self.asked.append([topic.topic for topic in wanted])
        answers: dict[str, Future[None]] = {topic.topic: Future() for topic in wanted}
        for name, answer in answers.items():
            if name == "late" and self.refusals:
                self.refusals -= 1
                fenced = KafkaError(KafkaError.INVALID_REPLICATION_FACTOR)
                answer.set_exception(KafkaException(fenced))
            else:
                answer.set_result(None)
        return answers


def test_too_few_brokers_are_asked_again() -> None:
    """Only what was refused is asked for again, until it is taken."""
    client: Any = _Starting(refusals=2)
    created = topic_admin._create(client, [NewTopic("at-once"), NewTopic("late")])
    assert created == ["at-once", "late"]
    assert client.asked == [["at-once", "late"], ["late"], ["late"]]


def test_too_few_brokers_for_good_are_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    """A replication that the cluster will never have is told, not waited for."""
    monkeypatch.setattr(topic_admin, "ANSWER_SECONDS", 0.2)
    client: Any = _Starting(refusals=10**6)
    with pytest.raises(ServerError, match="late"):
        topic_admin._create(client, [NewTopic("late")])
    assert len(client.asked) > 1


def test_a_broker_that_is_gone_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody answers: that is a ServerError, whatever the client calls it."""
    monkeypatch.setattr(topic_admin, "ANSWER_SECONDS", 0.3)
    settings = Settings.read(kafka_bootstrap_servers=f"127.0.0.1:{free_ports(1)[0]}")
    with pytest.raises(ServerError, match="topic"):
        topic_admin.create_topics(admin(settings), settings)
