"""Events go in, and are on the broker when the call returns: delivery is awaited and checked."""

from typing import Final

from confluent_kafka import KafkaError, Message

from contracts.errors import ServerError
from contracts.events import encode, headers_of, now
from contracts.model_event import ModelEvent
from contracts.topics import MODEL_EVENTS, TRAINING_REQUESTS, TRAINING_RUNS
from contracts.training import TrainingRequest, TrainingRun
from infra.kafka import producer
from infra.settings import Settings

_SOURCE: Final = "/millrace/trainer"
_DELIVERY_SECONDS: Final = 30.0


class Publisher:
    """Publishes one event after the other; owned by one thread.

    Guarantee: when `send` returns, all replicas have the event; events of one publisher are
    in the order of the calls. A crash may leave an event published that its caller believes
    unsent, so ids are deterministic and readers fold a repeated event once.
    """

    def __init__(self, settings: Settings) -> None:
        """Prepare a producer."""
        self._settings = settings
        self._client = producer(
            settings, {"linger.ms": 0, "delivery.timeout.ms": int(_DELIVERY_SECONDS * 1000)}
        )

    def send(self, event: TrainingRequest | TrainingRun | ModelEvent) -> None:
        """Publish an event and wait until it is delivered.

        Raises:
            ServerError: It could not be delivered.
        """
        match event:
            case TrainingRequest():
                topic, key = TRAINING_REQUESTS, event.model
            case TrainingRun():
                topic, key = TRAINING_RUNS, event.id
            case _:
                topic, key = MODEL_EVENTS, event.model
        problem: list[KafkaError | None] = []

        def delivered(error: KafkaError | None, _: Message) -> None:
            problem.append(error)

        self._client.produce(
            self._settings.named(topic.name),
            encode(event),
            key.encode(),
            headers=[*headers_of(event, _SOURCE, now())],
            on_delivery=delivered,
        )
        self._client.flush(_DELIVERY_SECONDS + 5)
        if not problem or problem[0] is not None:
            said = problem[0].str() if problem and problem[0] is not None else "no answer"
            raise ServerError(f"Kafka did not take an event for {topic.name}: {said}")
