"""Ground truth of the simulated fleet: the exact list of its drifts, faults and defects.

Detectors are evaluated against this list, and a demonstration is plotted with it.

>>> from datetime import UTC
>>> [event.kind for event in known_events(datetime(2025, 3, 3, tzinfo=UTC))]
['input_shift', 'covariate_drift', 'fault', 'concept_drift', 'sensor_defect']
"""

from datetime import datetime, timedelta
from typing import Final, Literal

import msgspec

Kind = Literal["covariate_drift", "concept_drift", "input_shift", "fault", "sensor_defect"]

ASSETS: Final = tuple(f"PUMP-{number:02d}" for number in range(1, 13))
PERIOD_SECONDS: Final = 60.0

#: The duty cycle before and after the firmware update, samples.
CYCLE: Final = 24.0
NEW_CYCLE: Final = 15.0
#: Offset of a recalibrated transmitter, in its unit.
RECALIBRATION: Final = 2.0
#: Growth of demand, and the number of samples over which it grows.
GROWTH: Final = 0.12
GROWTH_SAMPLES: Final = 240
#: Wear of a bearing at which it is replaced.
WORN: Final = 0.2


class KnownEvent(msgspec.Struct, frozen=True):
    """An event of the fleet's ground truth.

    Attributes:
        kind: Kind of event.
        assets: The pumps concerned.
        sensor: The sensor concerned; None if all are.
        starts: Event time at which it begins (UTC).
        ends: Event time at which it ends; None if it lasts.
        detail: One sentence for people.
    """

    kind: Kind
    assets: tuple[str, ...]
    sensor: str | None
    starts: datetime
    ends: datetime | None
    detail: str


def known_events(starts: datetime) -> tuple[KnownEvent, ...]:
    """List all events of the story.

    Args:
        starts: Event time of its first sample.
    """

    def at(sample: int) -> datetime:
        return starts + timedelta(seconds=sample * PERIOD_SECONDS)

    return (
        KnownEvent(
            "input_shift",
            ("PUMP-02", "PUMP-05", "PUMP-09"),
            "discharge_pressure",
            at(1_750),
            None,
            "the transmitter was recalibrated and reads 2 bar more; the pump is as it was",
        ),
        KnownEvent(
            "covariate_drift",
            ASSETS,
            None,
            at(1_950),
            None,
            "demand grows by 12 % within four hours and stays there",
        ),
        KnownEvent(
            "fault",
            ("PUMP-07",),
            None,
            at(2_150),
            at(2_400),
            "the bearing wears, runs hot and shakes, until it is replaced",
        ),
        KnownEvent(
            "concept_drift",
            ASSETS,
            None,
            at(2_640),
            None,
            f"a firmware update shortens the duty cycle from {CYCLE:g} to {NEW_CYCLE:g} minutes",
        ),
        KnownEvent(
            "sensor_defect",
            ("PUMP-11",),
            "vibration",
            at(5_200),
            at(5_260),
            "the probe is stuck at 0",
        ),
    )
