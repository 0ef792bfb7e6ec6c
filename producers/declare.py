"""Makes a model known: version 0, persistence, serves from its first window on."""

from datetime import UTC, datetime

from confluent_kafka import KafkaError, KafkaException, Message

from contracts.errors import DataError, ServerError
from contracts.events import encode, headers_of
from contracts.model_spec import ModelSpec
from contracts.registry import declare
from contracts.topics import MODEL_EVENTS
from infra.kafka import ANSWER_SECONDS, producer
from infra.model_feed import ModelFeed
from infra.settings import Settings

_SOURCE = "/millrace/edge"


def declare_model(settings: Settings, spec: ModelSpec) -> bool:
    """Declare a model in the registry unless it is there.

    Two edges that do so at once write the same events twice, which the registry's fold
    takes for one.

    Returns:
        Whether it was not there before.

    Raises:
        DataError: There is a model of this name that reads something else.
        ServerError: Kafka does not answer, or refuses.
    """
    feed = ModelFeed(settings)
    try:
        feed.catch_up()
        there = feed.registry.models.get(spec.name)
    except KafkaException as error:
        raise ServerError(f"Kafka does not answer: {error}") from error
    finally:
        feed.close()
    if there is not None and there.spec.sensor_set != spec.sensor_set:
        raise DataError(
            f"model {spec.name} reads other sensors, another period or another window length"
            f" ({', '.join(there.spec.sensors)}; {there.spec.period_seconds:g} s;"
            f" {there.spec.window}); give this one another name"
        )
    if there is not None and there.serving is not None:
        return False
    _publish(settings, spec)
    return True


def _publish(settings: Settings, spec: ModelSpec) -> None:
    problems: list[str] = []

    def report(error: KafkaError | None, _: Message) -> None:
        if error is not None:
            problems.append(error.str())

    client = producer(settings)
    at = datetime.now(UTC)
    for event in declare(spec, at):
        client.produce(
            settings.named(MODEL_EVENTS.name),
            encode(event),
            spec.name.encode(),
            on_delivery=report,
            headers=list(headers_of(event, _SOURCE, at)),
        )
    left = client.flush(ANSWER_SECONDS)
    if left or problems:
        why = problems[0] if problems else "no answer"
        raise ServerError(f"model {spec.name} could not be declared: {why}")
