"""An event is confirmed, or its sender hears that it is not."""

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest
from confluent_kafka import KafkaError, KafkaException

from millrace.contracts.errors import ServerError
from millrace.contracts.events.training import TrainingRequest
from millrace.infra.kafka import publisher
from millrace.infra.kafka.publisher import Publisher
from millrace.infra.settings import Settings

NOW = datetime(2026, 1, 1, tzinfo=UTC)
EVENT = TrainingRequest("r", "pumps", "request", "please", NOW, NOW)
REFUSAL = KafkaError(KafkaError.TOPIC_AUTHORIZATION_FAILED)


class Broker:
    """A producer whose broker answers in one way."""

    def __init__(self, answers: list[KafkaError | None], trouble: Exception | None) -> None:
        self.sent: list[tuple[str, bytes]] = []
        self._answers = answers
        self._trouble = trouble
        self._report: Callable[[KafkaError | None, Any], None] | None = None

    def produce(self, topic: str, _: bytes, key: bytes, **more: Any) -> None:
        """Take a record."""
        if self._trouble is not None:
            raise self._trouble
        self.sent.append((topic, key))
        self._report = more["on_delivery"]

    def flush(self, _: float) -> int:
        """Report what became of it; nothing is left in the queue when it was refused."""
        for answer in self._answers:
            assert self._report is not None
            self._report(answer, None)
        return 0


def sender(
    patch: pytest.MonkeyPatch, answers: list[KafkaError | None], trouble: Exception | None = None
) -> tuple[Publisher, Broker]:
    """A publisher to such a broker."""
    broker = Broker(answers, trouble)
    patch.setattr(publisher, "producer", lambda *_: broker)
    return Publisher(Settings(), "/test"), broker


def test_a_confirmed_event_is_under_its_key_in_its_topic(monkeypatch: pytest.MonkeyPatch) -> None:
    """Sent once, and without an error."""
    publishing, broker = sender(monkeypatch, [None])
    publishing.send(EVENT)
    assert broker.sent == [(Settings().named("training.requests"), b"pumps")]


@pytest.mark.parametrize(
    ("answers", "trouble"),
    [
        ([REFUSAL], None),
        ([], None),
        ([None], KafkaException(REFUSAL)),
        ([None], BufferError("full")),
    ],
)
def test_what_is_not_confirmed_is_an_error(
    monkeypatch: pytest.MonkeyPatch, answers: list[KafkaError | None], trouble: Exception | None
) -> None:
    """A refusal, silence, and a client that cannot go on; it names the topic."""
    publishing, _ = sender(monkeypatch, answers, trouble)
    with pytest.raises(ServerError, match=r"training\.requests"):
        publishing.send(EVENT)
