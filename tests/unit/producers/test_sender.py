"""A sender counts every delivery, waits for room, and never loses a window silently."""

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
from confluent_kafka import KafkaError, Producer

from millrace.contracts.errors import ServerError
from millrace.contracts.events.event import JSON, MSGPACK
from millrace.contracts.events.window import SensorWindow, decode_window
from millrace.contracts.headers import header
from millrace.infra.settings import Settings
from millrace.producers.delivery.sender import Sender
from millrace.producers.record import Encoding

WINDOW = SensorWindow("pump-1", ("flow",), 0, 60.0, np.ones((4, 1), np.float32))


class FakeProducer:
    """Keeps records in a small queue, and reports them when polled."""

    def __init__(self, room: int = 3, problem: KafkaError | None = None) -> None:
        self.sent: list[dict[str, Any]] = []
        self._queue: list[Callable[[KafkaError | None, None], None]] = []
        self._room = room
        self._problem = problem

    def produce(self, topic: str, value: bytes, key: bytes | None, **more: Any) -> None:
        """Queue a record, as librdkafka does."""
        if len(self._queue) >= self._room:
            raise BufferError("Local: Queue full")
        self._queue.append(more["on_delivery"])
        self.sent.append({"topic": topic, "value": value, "key": key, **more})

    def poll(self, seconds: float) -> int:
        """Report everything, if there is time to."""
        return self.flush() if seconds else 0

    def flush(self, _: float = 0) -> int:
        """Report everything."""
        for report in self._queue:
            report(self._problem, None)
        self._queue.clear()
        return 0

    def list_topics(self, topic: str, **_: float) -> Any:
        """Have every topic."""
        described = SimpleNamespace(error=None, partitions={0: None})
        return SimpleNamespace(topics={topic: described})


def sender(fake: FakeProducer, encoding: Encoding = "msgpack") -> Sender:
    """A sender over the fake."""
    return Sender(Settings(namespace="t"), client=cast(Producer, fake), encoding=encoding)


@pytest.mark.parametrize(("encoding", "content_type"), [("msgpack", MSGPACK), ("json", JSON)])
def test_a_record_is_as_agreed(encoding: Encoding, content_type: str) -> None:
    """Topic in the namespace, key the asset, CloudEvents headers, a timestamp, the window."""
    fake = FakeProducer()
    sender(fake, encoding).send(WINDOW)
    (record,) = fake.sent
    assert record["topic"] == "t.sensor.windows"
    assert record["key"] == b"pump-1"
    assert header(record["headers"], "content-type") == content_type
    assert header(record["headers"], "ce_id") == WINDOW.id
    assert header(record["headers"], "ce_type") == "millrace.window.v1"
    assert record["timestamp"] > 1_700_000_000_000
    assert decode_window(record["value"], content_type).id == WINDOW.id


def test_a_full_queue_is_waited_for() -> None:
    """With room for three, ten windows all arrive."""
    fake = FakeProducer(room=3)
    own = sender(fake)
    for _ in range(10):
        own.send(WINDOW)
    assert own.handed == 10
    own.flush()
    assert (own.delivered, own.failed, own.left) == (10, 0, 0)


def test_a_failed_delivery_is_an_error() -> None:
    """The run ends with what failed, and why."""
    own = sender(FakeProducer(problem=KafkaError(KafkaError._MSG_TIMED_OUT)))
    own.send(WINDOW)
    with pytest.raises(ServerError, match=r"1 of 1 windows could not be delivered to t.sensor"):
        own.flush()
