"""Publishes events synchronously: a call returns when the delivery is confirmed."""

from typing import Final

from confluent_kafka import KafkaError, KafkaException, Message

from millrace.contracts.clock import now
from millrace.contracts.errors import ServerError
from millrace.contracts.events.event import Event
from millrace.contracts.wire.codec import encode, headers_of
from millrace.infra.kafka.clients import producer
from millrace.infra.settings import Settings

#: How long the broker may take to confirm an event.
DELIVERY_SECONDS: Final = 30.0
#: The client reports an event's timeout a little after that.
_REPORT_SECONDS: Final = 5.0


class Publisher:
    """Publishes one event after the other; owned by one thread.

    Guarantee: when `send` returns, all in-sync replicas have the event; events of one publisher
    are in the order of the calls. After a crash, or a `ServerError` between the broker's append
    and its acknowledgement, an event may be published although its caller believes it unsent:
    readers fold a repeated event, which has the same id, once.
    """

    def __init__(
        self, settings: Settings, source: str, delivery_seconds: float = DELIVERY_SECONDS
    ) -> None:
        """Prepare a producer.

        Args:
            settings: Where Kafka is.
            source: CloudEvents source, for example ``/millrace/trainer``.
            delivery_seconds: How long the broker may take to confirm an event.
        """
        self._settings = settings
        self._source = source
        self._patience = delivery_seconds + _REPORT_SECONDS
        self._client = producer(
            settings, {"linger.ms": 0, "delivery.timeout.ms": int(delivery_seconds * 1000)}
        )

    def send(self, event: Event) -> None:
        """Publish an event to its topic, under its key, and wait for its delivery.

        Raises:
            ServerError: The broker refused it, or did not confirm it in time.
        """
        topic = event.TOPIC
        answers: list[KafkaError | None] = []

        def delivered(error: KafkaError | None, _: Message) -> None:
            answers.append(error)

        try:
            self._client.produce(
                self._settings.named(topic.name),
                encode(event),
                event.key.encode(),
                headers=[*headers_of(event, self._source, now())],
                on_delivery=delivered,
            )
            self._client.flush(self._patience)
        except (KafkaException, BufferError) as error:
            raise ServerError(f"Kafka did not take an event for {topic.name}: {error}") from error
        if not answers:
            raise ServerError(f"Kafka did not take an event for {topic.name}: no answer")
        if (refusal := answers[0]) is not None:
            raise ServerError(f"Kafka did not take an event for {topic.name}: {refusal.str()}")
