"""The model registry's events: an append-only log of the versions that may serve and that serve.

A version is registered, then approved or rejected; an approved version becomes ready on each
replica, then active, and is retired when another replaces it. `Activated` and `RolledBack` start
a serving epoch; epochs only grow, so a repeated or late event changes nothing.
"""

from __future__ import annotations

from typing import ClassVar

import msgspec

from millrace.contracts.events.event import Event
from millrace.contracts.model_spec import ModelSpec
from millrace.contracts.moment import Moment
from millrace.contracts.normaliser import Normaliser
from millrace.contracts.path_names import KeyPrefix, ModelName, ReplicaName, RunId
from millrace.contracts.topics import MODEL_EVENTS, Topic


class Artefact(msgspec.Struct, frozen=True):
    """Where a version's files are, and how to know that they are the right ones.

    Attributes:
        prefix: Object key prefix; the manifest is ``<prefix>/manifest.json``.
        digest: SHA-256 of that manifest, which in turn names every file's.
    """

    prefix: KeyPrefix
    digest: str


class EventBase(Event, frozen=True, tag_field="kind", kw_only=True):
    """What every registry event says.

    Attributes:
        id: Unique id of the event.
        model: The model; the record's key.
        version: The version concerned.
        at: When it happened.
    """

    TYPE: ClassVar[str] = "millrace.model-event.v1"
    TOPIC: ClassVar[Topic] = MODEL_EVENTS
    KEY: ClassVar[str] = "model"

    id: str
    model: ModelName
    version: int
    at: Moment
    v: int = 1


class Registered(EventBase, frozen=True, tag="registered", kw_only=True):
    """A version exists.

    Attributes:
        spec: What it reads and forecasts.
        normaliser: Its units; stream processors take them from here.
        artefact: Its files; None for version 0, persistence, which has none.
        parent: Version that it was warm-started from.
        run_id: The training run that made it.
        trained_from: Event time of the first training window.
        trained_until: Event time of the end of the last one, the hold-out included.
    """

    spec: ModelSpec
    normaliser: Normaliser
    artefact: Artefact | None = None
    parent: int | None = None
    run_id: RunId | None = None
    trained_from: Moment | None = None
    trained_until: Moment | None = None


class Approved(EventBase, frozen=True, tag="approved", kw_only=True):
    """The gate let it pass; replicas load it.

    Attributes:
        detail: The gate's reason, in words.
    """

    detail: str


class Rejected(EventBase, frozen=True, tag="rejected", kw_only=True):
    """The gate held it back, or it could not be loaded; it never serves.

    Attributes:
        detail: Why, in words.
    """

    detail: str


class Ready(EventBase, frozen=True, tag="ready", kw_only=True):
    """A replica has loaded, verified and warmed it.

    Attributes:
        replica: The replica's name.
    """

    replica: ReplicaName


class Unloadable(EventBase, frozen=True, tag="unloadable", kw_only=True):
    """A replica cannot load it.

    Attributes:
        replica: The replica's name.
        detail: What was wrong with it.
    """

    replica: ReplicaName
    detail: str


class Activated(EventBase, frozen=True, tag="activated", kw_only=True):
    """From now on windows are stamped with it.

    Attributes:
        epoch: Serving epoch that begins.
    """

    epoch: int


class RolledBack(EventBase, frozen=True, tag="rolled_back", kw_only=True):
    """From now on windows are stamped with this older version again.

    Attributes:
        epoch: Serving epoch that begins.
        detail: Why.
    """

    epoch: int
    detail: str


ModelEvent = Registered | Approved | Rejected | Ready | Unloadable | Activated | RolledBack
