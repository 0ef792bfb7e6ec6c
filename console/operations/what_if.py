"""What other drift detectors would have found in a stretch of the past."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing

import msgspec

from millrace.console.operations.replay import Request, plan_replay
from millrace.contracts.events.drift_alert import DriftAlert
from millrace.drift.selection import detectors
from millrace.infra.settings import Settings
from millrace.replay.past import Past
from millrace.replay.what_if import Hypothetical, what_if


class WhatIf(msgspec.Struct, frozen=True):
    """Result.

    Attributes:
        inputs: Detectors of each sensor.
        error: Detectors of a forecast's error.
        skill: Detectors of its skill.
        found: Alerts that they raise, by event time.
        published: Alerts that were published about the same windows.
    """

    inputs: str
    error: str
    skill: str
    found: tuple[DriftAlert, ...]
    published: tuple[DriftAlert, ...]


def other_detectors(
    settings: Settings,
    request: Request,
    tell: Callable[[int, int], None],
    *,
    inputs: str | None,
    error: str | None,
    skill: str | None,
) -> WhatIf:
    """Run detectors over a stretch; nothing is published.

    Args:
        settings: Where Kafka and the object store are.
        request: The stretch, as served.
        tell: Receives the number of records that are done, and of all.
        inputs: Detectors of each sensor; None for those of the settings.
        error: Detectors of a forecast's error.
        skill: Detectors of its skill.

    Raises:
        DataError: An archived object cannot be read.
        ServerError: A server does not answer.
        SettingsError: A detector is unknown, or the request names something that is not there.
    """
    names = (
        inputs or settings.input_detectors,
        error or settings.error_detectors,
        skill or settings.skill_detectors,
    )
    chosen = detectors(inputs=names[0], error=names[1], skill=names[2])
    planned = plan_replay(settings, request, None)
    found: dict[int, Hypothetical] = {}
    with closing(Past(settings)) as past:
        for part in planned.plan.parts:
            for so_far in what_if(planned.plan, part, past, chosen):
                found[part.partition] = so_far
                tell(sum(each.records for each in found.values()), planned.plan.records)

    def by_time(side: str) -> tuple[DriftAlert, ...]:
        alerts = [alert for each in found.values() for alert in getattr(each, side)]
        return tuple(sorted(alerts, key=lambda alert: (alert.event_time, alert.id)))

    return WhatIf(*names, by_time("found"), by_time("published"))
