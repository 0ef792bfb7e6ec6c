"""Decisions about models: pure functions that return events for the registry's log."""

from __future__ import annotations

from datetime import datetime

from millrace.contracts.events.model_event import Activated, Approved, ModelEvent, Registered
from millrace.contracts.ids import digest_of
from millrace.contracts.model_spec import PERSISTENCE, ModelSpec
from millrace.contracts.normaliser import Normaliser


def declare(spec: ModelSpec, at: datetime) -> list[ModelEvent]:
    """Build the events that declare a model: version 0, persistence, serves."""
    name = spec.name

    def event_id(kind: str) -> str:
        return f"{kind}-" + digest_of(name, PERSISTENCE, spec.sensor_set)

    return [
        Registered(
            id=event_id("registered"),
            model=name,
            version=PERSISTENCE,
            at=at,
            spec=spec,
            normaliser=Normaliser.identity(len(spec.sensors)),
        ),
        Approved(
            id=event_id("approved"),
            model=name,
            version=PERSISTENCE,
            at=at,
            detail="persistence serves until a trained model beats it",
        ),
        Activated(id=event_id("activated"), model=name, version=PERSISTENCE, at=at, epoch=1),
    ]
