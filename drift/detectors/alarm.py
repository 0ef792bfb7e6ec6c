"""Alarm of a test, and the bound that all tests clip values to."""

from __future__ import annotations

from typing import Final

import msgspec

#: Values are clipped to this, so that one absurd reading cannot blind a test permanently.
LIMIT: Final = 100.0


class Alarm(msgspec.Struct, frozen=True):
    """Alarm of a test.

    Attributes:
        statistic: The test's statistic at the alarm; None if the detector has none.
        threshold: The threshold that it exceeded; None if the statistic is.
        rising: Whether the signal rose.
        evidence_from: Event time from which the evidence grew, milliseconds UTC.
        samples: Number of values since the test was last reset.
    """

    statistic: float | None
    threshold: float | None
    rising: bool
    evidence_from: int
    samples: int


#: Index of a value in `series.RaggedSeries`, its lane, and the alarm that it raised.
Found = tuple[int, int, Alarm]
