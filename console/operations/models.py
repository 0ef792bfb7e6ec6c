"""Reads the model registry; requests trainings."""

from __future__ import annotations

from datetime import datetime
from typing import Final
from uuid import uuid4

import msgspec

from millrace.contracts.clock import now
from millrace.contracts.errors import DataError
from millrace.contracts.events.training import TrainingRequest
from millrace.infra.kafka.model_feed import ModelFeed
from millrace.infra.kafka.publisher import Publisher
from millrace.infra.settings import Settings
from millrace.registry.state import Registry

#: CloudEvents source of the console's events.
SOURCE: Final = "/millrace/console"


class VersionLine(msgspec.Struct, frozen=True):
    """A version, as `millrace models list` shows it.

    Attributes:
        model: The model.
        version: Its number; None if a refused event names none.
        state: registered, approved, rejected, active or retired; refused for an event that
            the registry does not count.
        epochs: Serving epochs that it served.
        since: Start of its latest serving epoch.
        trained_from: Event time of its first training window.
        trained_until: Event time of the end of its last one.
        parent: Version that it was warm-started from.
        detail: The gate's reason, or the registry's.
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
    feed = ModelFeed(settings, tells=False)  # `list_models` shows the refusals
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


def request_training(
    settings: Settings, model: str, event_time: datetime, detail: str
) -> TrainingRequest:
    """Publish a manual training request.

    Args:
        settings: Address of Kafka.
        model: The model.
        event_time: Event time up to which there is data.
        detail: The reason.

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
