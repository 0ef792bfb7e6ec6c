"""Requests to train, and the record of each run (JSON)."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal

import msgspec

from millrace.contracts.events.event import Event
from millrace.contracts.moment import Moment
from millrace.contracts.path_names import ModelName, RunId
from millrace.contracts.topics import TRAINING_REQUESTS, TRAINING_RUNS, Topic

Reason = Literal["drift", "age", "new_data", "request"]
RunState = Literal["waiting", "started", "approved", "rejected", "failed"]
#: States after which a run does not change any more.
FINISHED: frozenset[str] = frozenset({"approved", "rejected", "failed"})


class TrainingRequest(Event, frozen=True):
    """A reason to train a model.

    Attributes:
        id: Deterministic where the reason is an event, else random.
        model: The model to train.
        reason: ``drift``, ``age``, ``new_data``, or ``request`` (a person or a program).
        detail: One sentence for people.
        event_time: Event time of the reason; windows after it are new evidence.
        asset: The asset that drifted, for ``drift``.
        alert_id: The alert, for ``drift``.
        requested_at: When it was asked for.
    """

    TYPE: ClassVar[str] = "millrace.training-request.v1"
    TOPIC: ClassVar[Topic] = TRAINING_REQUESTS
    KEY: ClassVar[str] = "model"

    id: str
    model: ModelName
    reason: Reason
    detail: str
    event_time: Moment
    requested_at: Moment
    asset: str | None = None
    alert_id: str | None = None
    v: int = 1


class HoldoutError(msgspec.Struct, frozen=True):
    """Mean absolute errors on the gate's hold-out, in scales of the challenger's normaliser.

    Attributes:
        challenger: The new version's.
        champion: The serving version's.
        persistence: Persistence's.
    """

    challenger: float
    champion: float
    persistence: float


class TrainingRun(Event, frozen=True):
    """A run, as far as it has come; the topic keeps the latest record of each run.

    Attributes:
        id: Deterministic, from the request that started it.
        model: The model.
        request: The request that started it.
        answers: Ids of further requests that it answers, because they were due as well.
        state: ``waiting`` for enough windows after the reason, ``started``, then
            ``approved``, ``rejected`` or ``failed``.
        updated_at: When it came into this state.
        version: Number of the challenger, once it is known.
        parent: Version that it was warm-started from; None for a fresh start.
        manifest: Object key of the data manifest.
        manifest_digest: SHA-256 of that manifest.
        parameters: Everything that the fit and the gate were told, seed included.
        artefact_digest: SHA-256 of the artefact's manifest.
        trained_from: Event time of the first training window.
        trained_until: Event time of the end of the last one, the hold-out included.
        windows: Number of training windows.
        holdout: Errors on the hold-out.
        verdict: The gate's word.
        detail: Why, in words.
        seconds: Wall time of the fit.
        figures: What the fit and the gate found, for people: errors by epoch, intervals,
            each asset's verdict.
    """

    TYPE: ClassVar[str] = "millrace.training-run.v1"
    TOPIC: ClassVar[Topic] = TRAINING_RUNS
    KEY: ClassVar[str] = "id"

    id: RunId
    model: ModelName
    request: TrainingRequest
    state: RunState
    updated_at: Moment
    answers: tuple[str, ...] = ()
    version: int | None = None
    parent: int | None = None
    manifest: str | None = None
    manifest_digest: str | None = None
    parameters: Annotated[dict[str, Any], msgspec.Meta(description="fit and gate settings")] = (
        msgspec.field(default_factory=dict)
    )
    artefact_digest: str | None = None
    trained_from: Moment | None = None
    trained_until: Moment | None = None
    windows: int | None = None
    holdout: HoldoutError | None = None
    verdict: Literal["approved", "rejected"] | None = None
    detail: str = ""
    seconds: float | None = None
    figures: Annotated[dict[str, Any], msgspec.Meta(description="what fit and gate found")] = (
        msgspec.field(default_factory=dict)
    )
    v: int = 1
