"""Consequence of a finding: a training, or a warning to operators.

Inputs often drift without harm, so input drift alone is a warning. A training is requested on loss
of quality: the model's error rose, or it lost its lead over persistence (the *skill* signal, which
shows decay that a falling error hides).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from millrace.contracts.events.drift_alert import Severity, Signal
from millrace.drift.detectors.page_hinkley import PageHinkleySettings

#: Mean of a normalised sensor over a window, in standard deviations.
INPUT: Final = PageHinkleySettings(delta=0.25, threshold=30.0, two_sided=True)
#: Mean absolute error of a forecast, in standard deviations.
ERROR: Final = PageHinkleySettings(delta=0.05, threshold=5.0)
#: (error - persistence error) / (error + persistence error), in [-1, 1].
SKILL: Final = PageHinkleySettings(delta=0.05, threshold=10.0)

SETTINGS: Final[dict[Signal, PageHinkleySettings]] = {
    "input": INPUT,
    "error": ERROR,
    "skill": SKILL,
}


@dataclass(frozen=True)
class Judgement:
    """Consequence of a finding."""

    severity: Severity
    asks_training: bool


def judge(signal: Signal, *, rising: bool) -> Judgement:
    """Derive the consequence of an alarm from its signal and direction.

    A fallen error, or a grown lead, is only reported.
    """
    if signal == "input":
        return Judgement("warning", asks_training=False)
    if not rising:
        return Judgement("info", asks_training=False)
    return Judgement("critical", asks_training=True)
