"""A detector's finding about one asset (JSON)."""

from __future__ import annotations

from typing import ClassVar, Literal

from millrace.contracts.events.event import Event
from millrace.contracts.moment import Moment
from millrace.contracts.source import Source
from millrace.contracts.topics import DRIFT_ALERTS, Topic

Signal = Literal["input", "error", "skill", "serving"]
Severity = Literal["info", "warning", "critical"]


class DriftAlert(Event, frozen=True):
    """Something changed.

    Attributes:
        id: Deterministic, from the source record, detector and sensor.
        asset: The machine; ``*`` for an alert about serving itself.
        model: Model concerned.
        version: Version that served when it changed.
        signal: ``input`` (a normalised sensor), ``error`` (against truth), ``skill``
            (against persistence), or ``serving`` (a version could not be loaded).
        sensor: The sensor, for ``input``.
        detector: Name of the detector.
        statistic: Its test statistic at the alarm.
        threshold: What the statistic exceeded.
        severity: ``critical`` asks for a training, ``warning`` for a look.
        asks_training: Whether the trainer should consider it a reason to train.
        event_time: Event time at the alarm.
        evidence_from: Event time since which the statistic grew.
        samples: Values that the detector had seen since it was reset.
        source: The window whose value raised the alarm.
        detail: One sentence for people.
    """

    TYPE: ClassVar[str] = "millrace.drift-alert.v1"
    TOPIC: ClassVar[Topic] = DRIFT_ALERTS

    id: str
    asset: str
    model: str
    version: int
    signal: Signal
    sensor: str | None
    detector: str
    statistic: float
    threshold: float
    severity: Severity
    asks_training: bool
    event_time: Moment
    evidence_from: Moment
    samples: int
    source: Source | None
    detail: str
    v: int = 1
