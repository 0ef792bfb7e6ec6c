"""`millrace models`: what the registry says, and how to tell it something."""

from __future__ import annotations

from datetime import datetime
from typing import Final
from uuid import uuid4

import msgspec

from millrace.console.terminal.output import answers, print_json, table
from millrace.contracts.errors import DataError
from millrace.contracts.events.training import TrainingRequest
from millrace.contracts.wire.codec import now
from millrace.infra.declare import declare_model
from millrace.infra.kafka.model_feed import ModelFeed
from millrace.infra.kafka.publisher import Publisher
from millrace.infra.local.address import settings_of_running_system
from millrace.infra.settings import Settings
from millrace.registry.state import Registry

#: Who writes the console's events.
SOURCE: Final = "/millrace/console"


class VersionLine(msgspec.Struct, frozen=True):
    """A version, as `millrace models list` shows it.

    Attributes:
        model: The model.
        version: Its number; None if a refused event names none.
        state: registered, approved, rejected, active or retired; refused for an event that
            the registry does not count.
        epochs: Serving epochs that it served.
        since: When it began to serve last.
        trained_from: Event time of its first training window.
        trained_until: Event time of the end of its last one.
        parent: Version that it was warm-started from.
        detail: The gate's reason, in words, or the registry's.
    """

    model: str
    version: int | None
    state: str
    epochs: list[int]
    since: datetime | None
    trained_from: datetime | None
    trained_until: datetime | None
    parent: int | None
    detail: str


def read_registry(settings: Settings) -> Registry:
    """Read and fold all registry events.

    Raises:
        ServerError: No broker answers, or the topic is not there.
    """
    feed = ModelFeed(settings, tells=False)  # `list_models` shows what was refused
    try:
        feed.catch_up()
    finally:
        feed.close()
    return feed.registry


def version_lines(registry: Registry) -> list[VersionLine]:
    """All versions of all models, oldest first."""
    return [
        VersionLine(
            name,
            number,
            version.state.value,
            [serving.epoch for serving in model.epochs if serving.version == number],
            max((s.since for s in model.epochs if s.version == number), default=None),
            version.registered.trained_from,
            version.registered.trained_until,
            version.registered.parent,
            version.detail,
        )
        for name, model in sorted(registry.models.items())
        for number, version in sorted(model.versions.items())
    ]


def refused_lines(registry: Registry) -> list[VersionLine]:
    """Events that the registry refused, each with its reason, oldest first."""
    return [
        VersionLine(
            refusal.model,
            refusal.version,
            "refused",
            [],
            None,
            None,
            None,
            None,
            f"{refusal.kind}: {refusal.reason}",
        )
        for refusal in registry.refusals
    ]


def list_models(*, as_json: bool) -> None:
    """Print all versions, and then the events that were refused.

    Raises:
        ServerError: Nothing runs.
    """
    registry = read_registry(settings_of_running_system())
    versions, refused = version_lines(registry), refused_lines(registry)
    lines = versions + refused
    if as_json:
        print_json(lines)
        return
    answers.print(
        table(
            f"{len(registry.models)} models, {len(versions)} versions"
            + (f", {len(refused)} events refused" if refused else ""),
            ("model", "version", "state", "epochs", "serves since", "trained on", "detail"),
            [
                (
                    line.model,
                    line.version,
                    line.state,
                    ", ".join(str(epoch) for epoch in line.epochs),
                    line.since,
                    _stretch(line.trained_from, line.trained_until),
                    line.detail,
                )
                for line in lines
            ],
        )
    )


def declare_dataset(where: str, *, as_json: bool) -> None:
    """Bring the model of a dataset to life.

    Raises:
        DataError: The dataset cannot be read, or another model has its name or sensors.
        ServerError: Nothing runs.
    """
    from millrace.producers.sources.opening import open_recording  # noqa: PLC0415  (pandas is slow to import)

    settings = settings_of_running_system()
    spec = open_recording(where, settings).spec
    new = declare_model(settings, spec, SOURCE)
    if as_json:
        print_json({"model": spec.name, "declared": new, "spec": spec})
    else:
        said = "declared; persistence serves as version 0" if new else "is declared already"
        answers.print(f"model {spec.name}: {said}")


def train_model(name: str, *, as_json: bool) -> None:
    """Ask for a training.

    Raises:
        DataError: There is no such model.
        ServerError: Nothing runs.
    """
    settings = settings_of_running_system()
    request = request_training(settings, name, now(), "asked for with `millrace models train`")
    if as_json:
        print_json(request)
    else:
        answers.print(f"model {name}: training requested ({request.id})")


def request_training(
    settings: Settings, model: str, event_time: datetime, detail: str
) -> TrainingRequest:
    """Publish a person's request to train.

    Args:
        settings: Where Kafka is.
        model: The model.
        event_time: Event time up to which data is there.
        detail: Why, in words.

    Raises:
        DataError: There is no such model.
        ServerError: No broker answers.
    """
    models = read_registry(settings).models
    if model not in models:
        known = ", ".join(sorted(models)) or "none yet; see `millrace models declare`"
        raise DataError(f"there is no model {model}; declared models: {known}")
    request = TrainingRequest(
        id=f"q-{uuid4().hex[:24]}",
        model=model,
        reason="request",
        detail=detail,
        event_time=event_time,
        requested_at=now(),
    )
    Publisher(settings, SOURCE).send(request)
    return request


def _stretch(start: datetime | None, end: datetime | None) -> str:
    return f"{start:%Y-%m-%d} to {end:%Y-%m-%d}" if start and end else ""
