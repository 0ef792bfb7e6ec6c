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
        statistic: Its test statistic at the alarm; null if it has none to show.
        threshold: What the statistic exceeded; null with it.
        severity: ``critical`` asks for a training, ``warning`` for a look, ``info`` for nothing.
        asks_training: Whether the trainer should consider it a reason to train.
        event_time: Event time at the alarm.
        evidence_from: Event time since which the evidence grew.
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
    statistic: float | None
    threshold: float | None
    severity: Severity
    asks_training: bool
    event_time: Moment
    evidence_from: Moment
    samples: int
    source: Source | None
    detail: str
    v: int = 1


def shown(detector: str, statistic: float | None, threshold: float | None) -> str:
    """A detector's name, with its statistic if it has one to show.

    >>> shown("PageHinkley", 31.52, 30.0), shown("KSWIN", None, None)
    ('PageHinkley 31.5 > 30', 'KSWIN')
    """
    if statistic is None or threshold is None:
        return detector
    return f"{detector} {statistic:.3g} > {threshold:.3g}"
