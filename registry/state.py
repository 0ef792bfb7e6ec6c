"""The registry as a fold of its events: models, versions, and the serving epochs.

Every service tails `model.events` and folds it with `Registry.apply`; so all of them agree once
they have read the same events, and a restart needs only the topic.

Guarantee: no event that can be decoded makes `apply` raise, and every serving version has a task
    within bounds and units that fit it. A refused event has no effect, and its reason is kept in
    `Registry.refusals`. Refused are: an event out of bounds by itself (`registry.bounds`); a
    registration with another task than its model's, of a model whose sensors another model reads,
    or under a number with other content; an activation of a version that is unknown, not approved
    or rejected; and versions and epochs far ahead of the last. Repeated and late events have no
    effect either, but are not refusals.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

from millrace.contracts.events.model_event import (
    Activated,
    Approved,
    ModelEvent,
    Ready,
    Registered,
    Rejected,
    RolledBack,
    Unloadable,
)
from millrace.contracts.model_spec import PERSISTENCE, ModelSpec
from millrace.registry.bounds import MAX_LEAP, problem_of
from millrace.registry.refusals import MAX_REFUSALS, Refusal, cut, refusal_of

#: Most characters of a gate's or a replica's message that are kept.
MAX_DETAIL = 2000


class State(StrEnum):
    """States of a version."""

    REGISTERED = "registered"
    APPROVED = "approved"
    REJECTED = "rejected"
    ACTIVE = "active"
    RETIRED = "retired"


@dataclass
class Version:
    """A version, folded from its events."""

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

    def last_good_before(self, version: int, replicas: frozenset[str]) -> int:
        """Find the fallback: the version that served last before this one.

        Args:
            version: The version that cannot serve.
            replicas: Live replicas: versions that none of them can load are skipped.
        """
        for serving in reversed(self.epochs):
            if serving.version != version and not self.is_lost(serving.version, replicas):
                return serving.version
        return PERSISTENCE

    def is_lost(self, version: int, replicas: frozenset[str]) -> bool:
        """Whether all given replicas have reported that they cannot load a version."""
        return bool(replicas) and replicas <= self.versions[version].unloadable.keys()


class Registry:
    """All models. Applying an event is idempotent."""

    def __init__(self) -> None:
        """Start without models."""
        self.models: dict[str, Model] = {}
        self._refusals: dict[Refusal, None] = {}

    @property
    def refusals(self) -> list[Refusal]:
        """Refused events without repeats, in order; the latest `MAX_REFUSALS`."""
        return list(self._refusals)

    def refuse(self, refusal: Refusal) -> bool:
        """Store a refusal.

        Returns:
            Whether it is new.
        """
        if refusal in self._refusals:
            return False
        self._refusals[refusal] = None
        if len(self._refusals) > MAX_REFUSALS:
            del self._refusals[next(iter(self._refusals))]
        return True

    def by_sensor_set(self, sensor_set: str) -> Model | None:
        """Find the model that reads a sensor set; there is at most one."""
        for model in self.models.values():
            if model.spec.sensor_set == sensor_set:
                return model
        return None

    def has_served(self, name: str, version: int, epoch: int) -> bool:
        """Whether a version of a model serves, or served, in an epoch."""
        model = self.models.get(name)
        return model is not None and any(
            (serving.epoch, serving.version) == (epoch, version)
            for serving in reversed(model.epochs)
        )

    def apply(self, event: ModelEvent) -> bool:
        """Fold one event.

        Returns:
            Whether it had an effect. Refused and repeated events, and activations of a past epoch,
            have none.
        """
        reason = self.refusal(event)
        if reason is not None:
            self.refuse(refusal_of(event, reason))
            return False
        if isinstance(event, Registered):
            return self._register(event)
        model = self.models[event.model]
        version = model.versions[event.version]
        match event:
            case Activated() | RolledBack():
                return _activate(model, version, event)
            case Ready():
                if event.replica in version.ready:
                    return False
                version.ready.add(event.replica)
                version.unloadable.pop(event.replica, None)
            case Unloadable():
                detail = cut(event.detail, MAX_DETAIL)
                if version.unloadable.get(event.replica) == detail:
                    return False
                version.ready.discard(event.replica)
                version.unloadable[event.replica] = detail
            case Approved():
                if version.state is not State.REGISTERED:
                    return False
                version.state, version.detail = State.APPROVED, cut(event.detail, MAX_DETAIL)
                version.approved_at = event.at
            case Rejected():
                if version.state not in {State.REGISTERED, State.APPROVED}:
                    return False
                version.state, version.detail = State.REJECTED, cut(event.detail, MAX_DETAIL)
        return True

    def is_registered(self, event: Registered) -> bool:
        """Whether a version is registered with exactly this content."""
        model = self.models.get(event.model)
        known = model.versions.get(event.version) if model else None
        return known is not None and (
            known.registered.spec,
            known.registered.normaliser,
            known.registered.artefact,
        ) == (event.spec, event.normaliser, event.artefact)

    def refusal(self, event: ModelEvent) -> str | None:
        """Reason for refusing an event in the present state; None if it is valid."""
        problem = problem_of(event)
        if problem is not None:
            return problem
        if isinstance(event, Registered):
            return self._registration_problem(event)
        model = self.models.get(event.model)
        if model is None:
            return f"there is no model {event.model}"
        version = model.versions.get(event.version)
        if version is None:
            return self._missing(event)
        if isinstance(event, Activated | RolledBack):
            return _activation_problem(model, version, event)
        if isinstance(event, Rejected) and event.version == PERSISTENCE:
            return "version 0 is persistence: it cannot be rejected"
        return None

    def _missing(self, event: ModelEvent) -> str:
        """Message that a version is unknown, with the reason if its registration was refused."""
        for refused in reversed(self._refusals):
            if (refused.model, refused.version) == (event.model, event.version):
                return (
                    refused.reason
                    if refused.kind != Registered.__struct_config__.tag
                    else f"model {event.model} has no version {event.version}, whose"
                    f" registration was refused: {refused.reason}"
                )
        return f"model {event.model} has no version {event.version}"

    def _registration_problem(self, event: Registered) -> str | None:
        model = self.models.get(event.model)
        if model is None:
            if event.version != PERSISTENCE:
                return f"there is no model {event.model}: its version 0 is registered first"
            reader = self.by_sensor_set(event.spec.sensor_set)
            if reader is not None:
                return (
                    f"model {reader.spec.name} reads the same sensors, period and window already;"
                    f" {event.model} would never be asked"
                )
            return None
        if event.spec != model.spec:
            return f"another task than model {event.model} has: give the model another name"
        known = model.versions.get(event.version)
        if known is not None:
            if self.is_registered(event):
                return None
            return f"version {event.version} is registered already, with other units or files"
        latest = max(model.versions)
        if event.version > latest + MAX_LEAP:
            return f"version {event.version} is far ahead: the next is {latest + 1}"
        return None

    def _register(self, event: Registered) -> bool:
        model = self.models.setdefault(event.model, Model(event.spec))
        if event.version in model.versions:
            return False
        model.versions[event.version] = Version(event)
        return True


def _activation_problem(
    model: Model, version: Version, event: Activated | RolledBack
) -> str | None:
    """Why a version cannot serve from an epoch on; a past epoch is no problem."""
    latest = model.serving.epoch if model.serving is not None else 0
    if event.epoch <= latest and model.serving is not None:
        return None
    if not 0 < event.epoch <= latest + MAX_LEAP:
        return f"its epoch is not near the last one: the next is {latest + 1}"
    if version.state is State.REGISTERED:
        return f"version {event.version} is not approved"
    if version.state is State.REJECTED:
        return f"version {event.version} is rejected: {version.detail}"
    return None


def _activate(model: Model, version: Version, event: Activated | RolledBack) -> bool:
    """Start an epoch, unless it is past."""
    current = model.serving
    if current is not None and event.epoch <= current.epoch:
        return False
    if model.champion is not None:
        model.champion.state = State.RETIRED
    version.state = State.ACTIVE
    model.epochs.append(Serving(event.epoch, event.version, event.at))
    return True
