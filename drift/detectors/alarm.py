"""What a test found, and the bound that all tests hold values to."""

from __future__ import annotations

from typing import Final

import msgspec

#: Values are held within this, so that one absurd reading cannot blind a test for good.
LIMIT: Final = 100.0


class Alarm(msgspec.Struct, frozen=True):
    """What a test found.

    Attributes:
        statistic: The test's statistic at the alarm; None where the detector has none to show.
        threshold: What it exceeded; None with the statistic.
        rising: Whether the signal rose.
        evidence_from: Event time since which the evidence grew, milliseconds UTC.
        samples: Values seen since the test was last reset.
    """

    statistic: float | None
    threshold: float | None
    rising: bool
    evidence_from: int
    samples: int


#: Place of a value in `series.RaggedSeries`, its lane, and the alarm that it raised.
Found = tuple[int, int, Alarm]
