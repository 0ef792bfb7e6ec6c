"""A prediction joined with the truth that later covered its interval (JSON)."""

from __future__ import annotations

from typing import ClassVar

from millrace.contracts.events.event import Event
from millrace.contracts.moment import Moment
from millrace.contracts.source import Source
from millrace.contracts.topics import OUTCOMES, Topic


class Outcome(Event, frozen=True):
    """How well one forecast did.

    Attributes:
        id: Deterministic, from the source record.
        asset: The machine.
        model: Model that served.
        version: Version that served.
        epoch: Serving epoch.
        window_id: The edge's window.
        source: The window's record in `sensor.windows`.
        interval_start: Event time of the first forecast sample.
        interval_end: Event time one period after the last.
        targets: Sensor of each column.
        truth: What was measured, one row per step; null where a target was absent.
        error: Mean absolute error over the present targets, in scales of the version's
            normaliser (physical units for version 0).
        persistence_error: The same of the persistence forecast.
        skill: (error - persistence_error) / (error + persistence_error): below 0 the model
            is better than persistence. 0 when both are 0.
        joined_at: When the truth was complete.
    """

    TYPE: ClassVar[str] = "millrace.outcome.v1"
    TOPIC: ClassVar[Topic] = OUTCOMES

    id: str
    asset: str
    model: str
    version: int
    epoch: int
    window_id: str
    source: Source
    interval_start: Moment
    interval_end: Moment
    targets: tuple[str, ...]
    truth: list[list[float | None]]
    error: float
    persistence_error: float
    skill: float
    joined_at: Moment
    v: int = 1
