"""`millrace replay --what-if-drift`: alerts of other detectors beside those that were published."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Final

import numpy as np

from millrace.console.operations.replay import Request
from millrace.console.operations.what_if import WhatIf, other_detectors
from millrace.console.terminal.done import Done
from millrace.console.terminal.output import answers, print_json, table
from millrace.console.terminal.sparkline import sparkline
from millrace.contracts.events.drift_alert import DriftAlert
from millrace.infra.local.address import settings_of_running_system

#: Stretches of event time in which alerts are counted.
_STRETCHES: Final = 60
#: Alerts that the table lists.
_LISTED: Final = 40


def what_if_drift(
    request: Request,
    *,
    inputs: str | None,
    error: str | None,
    skill: str | None,
    as_json: bool,
) -> None:
    """Run other detectors over a stretch, and print what they find.

    Raises:
        DataError, ServerError, SettingsError: See `other_detectors`.
    """
    settings = settings_of_running_system()
    with Done() as told:
        found = other_detectors(settings, request, told, inputs=inputs, error=error, skill=skill)
    if as_json:
        print_json(found)
        return
    answers.print(
        table(
            f"alerts of inputs {found.inputs}, error {found.error}, skill {found.skill}",
            ("asset", "signal", "found", "of these asking", "published", "of these asking", "both"),
            _counts(found),
        )
    )
    then = {alert.id for alert in found.published}
    answers.print(
        table(
            f"alerts that would be raised, {min(_LISTED, len(found.found))} of {len(found.found)}",
            ("event time", "asset", "signal", "sensor", "detector", "asks training", "published"),
            [
                (
                    alert.event_time,
                    alert.asset,
                    alert.signal,
                    alert.sensor,
                    alert.detector,
                    alert.asks_training,
                    alert.id in then,
                )
                for alert in found.found[:_LISTED]
            ],
        )
    )
    for name, line in _plot(found):
        answers.print(f"{name:>10} {line}", markup=False, highlight=False)


def _counts(found: WhatIf) -> list[Sequence[object]]:
    """Numbers of alerts by asset and signal; the same window, signal and detector is both."""
    sides = [Counter((a.asset, a.signal) for a in side) for side in (found.found, found.published)]
    asking = [
        Counter((a.asset, a.signal) for a in side if a.asks_training)
        for side in (found.found, found.published)
    ]
    ids = {alert.id for alert in found.published}
    both = Counter((a.asset, a.signal) for a in found.found if a.id in ids)
    return [
        (*key, sides[0][key], asking[0][key], sides[1][key], asking[1][key], both[key])
        for key in sorted(sides[0].keys() | sides[1].keys())
    ]


def _plot(found: WhatIf) -> list[tuple[str, str]]:
    """Alerts over event time, one line for each side."""
    moments = [a.event_time.timestamp() for a in (*found.found, *found.published)]
    if not moments:
        return []
    edges = np.linspace(min(moments), max(moments) + 1, _STRETCHES + 1)

    def counts(alerts: Sequence[DriftAlert]) -> list[float | None]:
        made, _ = np.histogram([a.event_time.timestamp() for a in alerts], edges)
        return [float(count) if count else None for count in made]

    lines = [("found", counts(found.found)), ("published", counts(found.published))]
    top = max(value for _, values in lines for value in values if value is not None)
    return [(name, sparkline(values, top)) for name, values in lines]
