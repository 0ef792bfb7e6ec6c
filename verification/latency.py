"""Edge to prediction: how long each window took, and what a swap did to it.

A prediction's latency is the time at which an ordinary ``read_committed`` consumer had it
in its hands, less its source record's timestamp (when the edge handed the window over).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

#: How long before the approval counts as *before* a swap, milliseconds.
BEFORE_MS: Final = 30_000
#: The first windows behind the last fence belong to the swap, too, milliseconds.
AFTER_MS: Final = 1_000


@dataclass(frozen=True)
class Arrival:
    """A prediction in a consumer's hands.

    Attributes:
        sent_ms: Timestamp of the source record, milliseconds since the epoch.
        arrived_ms: When the consumer had it, on the same clock.
        version: Version that served.
    """

    sent_ms: float
    arrived_ms: float
    version: int

    @property
    def latency_ms(self) -> float:
        """Edge to prediction."""
        return self.arrived_ms - self.sent_ms


@dataclass(frozen=True)
class Latency:
    """Percentiles of some arrivals, milliseconds; None where there are none."""

    p50_ms: float | None
    p99_ms: float | None
    windows: int


@dataclass(frozen=True)
class Around:
    """Latency around a swap.

    Attributes:
        before: Of predictions that were done in the half minute before the approval.
        during: Of predictions that were under way at some time of the swap.
    """

    before: Latency
    during: Latency


def percentiles(arrivals: Sequence[Arrival]) -> Latency:
    """Take the median and the 99th percentile."""
    if not arrivals:
        return Latency(None, None, 0)
    values = np.array([arrival.latency_ms for arrival in arrivals])
    p50, p99 = np.percentile(values, [50, 99])
    return Latency(float(p50), float(p99), len(values))


def around(
    arrivals: Sequence[Arrival], begun_ms: float, ended_ms: float, before_ms: float = BEFORE_MS
) -> Around:
    """Compare the time of a swap with the time before it.

    Args:
        arrivals: All predictions.
        begun_ms: When the version was approved.
        ended_ms: When the last partition was stamped; `AFTER_MS` more count as well.
        before_ms: How far back *before* goes.
    """
    before = [a for a in arrivals if begun_ms - before_ms <= a.arrived_ms < begun_ms]
    during = [a for a in arrivals if a.sent_ms <= ended_ms + AFTER_MS and a.arrived_ms >= begun_ms]
    return Around(percentiles(before), percentiles(during))
