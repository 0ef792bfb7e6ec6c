"""Declares a model in the registry: version 0, persistence, serves from its first window on."""

from __future__ import annotations

from confluent_kafka import KafkaException

from millrace.contracts.clock import now
from millrace.contracts.errors import DataError, ServerError
from millrace.contracts.model_spec import ModelSpec
from millrace.infra.kafka.model_feed import ModelFeed
from millrace.infra.kafka.publisher import Publisher
from millrace.infra.settings import Settings
from millrace.registry.decisions import declare
from millrace.registry.state import Registry


def declare_model(settings: Settings, spec: ModelSpec, source: str) -> bool:
    """Declare a model in the registry unless it is known; complete a half-declared one.

    Guarantee: when this returns, the model serves. Two processes that declare the same model at
    once, or one that repeats an interrupted declaration, write events that the registry's fold
    counts once.

    Args:
        settings: Where Kafka is.
        spec: The model.
        source: CloudEvents source of the events, for example ``/millrace/edge``.

    Returns:
        Whether anything was left to declare.

    Raises:
        DataError: A model of this name has another task, or another one reads the same
            sensors.
        ServerError: Kafka does not answer, or refuses.
    """
    if not needs_declaration(_read(settings), spec):
        return False
    publisher = Publisher(settings, source)
    for event in declare(spec, now()):
        publisher.send(event)
    return True


def needs_declaration(registry: Registry, spec: ModelSpec) -> bool:
    """Whether a model is unknown, or known but has never served.

    Raises:
        DataError: A model of this name has another task, or another one reads the same
            sensors.
    """
    known = registry.models.get(spec.name)
    if known is not None and known.spec != spec:
        raise DataError(
            f"model {spec.name} is declared with another task ({_changed(known.spec, spec)});"
            " give the dataset another name"
        )
    for name, model in registry.models.items():
        if name != spec.name and model.spec.sensor_set == spec.sensor_set:
            raise DataError(
                f"model {name} reads the same sensors, period and window already; {spec.name}"
                f" would never be asked: name the dataset {name}, or change its sensors or window"
            )
    return known is None or known.serving is None


def _changed(known: ModelSpec, spec: ModelSpec) -> str:
    """Describe the differences in words."""
    return "; ".join(
        f"{name} was {getattr(known, name)}, is {getattr(spec, name)}"
        for name in spec.__struct_fields__
        if getattr(known, name) != getattr(spec, name)
    )


def _read(settings: Settings) -> Registry:
    feed = ModelFeed(settings)
    try:
        feed.catch_up()
    except KafkaException as error:
        raise ServerError(f"Kafka does not answer: {error}") from error
    finally:
        feed.close()
    return feed.registry
