"""The registry as a fold of its events: what exists, what may serve, what does.

Every service tails `model.events` and folds it with `Registry.apply`; so all of them agree
once they have read the same events, and a restart needs nothing but the topic.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

from contracts.ids import digest_of
from contracts.model_event import (
    Activated,
    Approved,
    ModelEvent,
    Ready,
    Registered,
    Rejected,
    RolledBack,
    Unloadable,
)
from contracts.model_spec import ModelSpec
from contracts.normaliser import Normaliser

PERSISTENCE = 0


class State(StrEnum):
    """States of a version."""

    REGISTERED = "registered"
    APPROVED = "approved"
    REJECTED = "rejected"
    ACTIVE = "active"
    RETIRED = "retired"


@dataclass
class Version:
    """A version as the events tell it."""

    registered: Registered
    state: State = State.REGISTERED
    detail: str = ""
    approved_at: datetime | None = None
    ready: set[str] = field(default_factory=set)
    unloadable: dict[str, str] = field(default_factory=dict)

    @property
    def number(self) -> int:
        """The version's number."""
        return self.registered.version


@dataclass(frozen=True)
class Serving:
    """A serving epoch."""

    epoch: int
    version: int
    since: datetime


@dataclass
class Model:
    """A model, its versions and its serving epochs, oldest first."""

    spec: ModelSpec
    versions: dict[int, Version] = field(default_factory=dict)
    epochs: list[Serving] = field(default_factory=list)

    @property
    def serving(self) -> Serving | None:
        """The current epoch; None before the first activation."""
        return self.epochs[-1] if self.epochs else None

    @property
    def champion(self) -> Version | None:
        """The version that serves now."""
        return self.versions[self.epochs[-1].version] if self.epochs else None

    def last_good_before(self, version: int) -> int:
        """Find what to fall back to: the version that served last before this one."""
        for serving in reversed(self.epochs):
            candidate = self.versions[serving.version]
            if serving.version != version and not candidate.unloadable:
                return serving.version
        return PERSISTENCE


class Registry:
    """All models. Applying the same events again changes nothing."""

    def __init__(self) -> None:
        """Start with no model."""
        self.models: dict[str, Model] = {}

    def by_sensor_set(self, sensor_set: str) -> Model | None:
        """Find the model that reads a sensor set."""
        for model in self.models.values():
            if model.spec.sensor_set == sensor_set:
                return model
        return None

    def apply(self, event: ModelEvent) -> bool:
        """Fold one event.

        Returns:
            Whether it changed anything. Events about unknown versions, repeated events
            and activations of an epoch that has passed do not.
        """
        if isinstance(event, Registered):
            return self._register(event)
        model = self.models.get(event.model)
        version = model.versions.get(event.version) if model else None
        if model is None or version is None:
            return False
        match event:
            case Activated() | RolledBack():
                return _activate(model, version, event)
            case Ready():
                if event.replica in version.ready:
                    return False
                version.ready.add(event.replica)
                version.unloadable.pop(event.replica, None)
            case Unloadable():
                if version.unloadable.get(event.replica) == event.detail:
                    return False
                version.ready.discard(event.replica)
                version.unloadable[event.replica] = event.detail
            case Approved():
                if version.state is not State.REGISTERED:
                    return False
                version.state, version.detail = State.APPROVED, event.detail
                version.approved_at = event.at
            case Rejected():
                if version.state not in {State.REGISTERED, State.APPROVED}:
                    return False
                version.state, version.detail = State.REJECTED, event.detail
        return True

    def _register(self, event: Registered) -> bool:
        model = self.models.setdefault(event.model, Model(event.spec))
        if event.version in model.versions:
            return False
        model.versions[event.version] = Version(event)
        return True


def _activate(model: Model, version: Version, event: Activated | RolledBack) -> bool:
    """Begin an epoch, unless it has passed or the version may not serve."""
    current = model.serving
    if current is not None and event.epoch <= current.epoch:
        return False
    if version.state in {State.REGISTERED, State.REJECTED}:
        return False
    if model.champion is not None:
        model.champion.state = State.RETIRED
    version.state = State.ACTIVE
    model.epochs.append(Serving(event.epoch, event.version, event.at))
    return True


def declare(spec: ModelSpec, at: datetime) -> list[ModelEvent]:
    """Make the events that bring a model to life: version 0, persistence, serves."""
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
