"""Latency from edge to prediction, of all windows and around swaps.

A prediction's latency is the time at which an ordinary ``read_committed`` consumer received it,
minus its source record's timestamp, which the edge sets when it sends the window.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

#: Length of the interval *before* a swap, which ends at the approval, milliseconds.
BEFORE_MS: Final = 30_000
#: The swap includes this time after the last fence, milliseconds.
AFTER_MS: Final = 1_000


@dataclass(frozen=True)
class Arrival:
    """A prediction as received by a consumer.

    Attributes:
        sent_ms: Timestamp of the source record, milliseconds since the epoch.
        arrived_ms: When the consumer received it, on the same clock.
        version: Version that served.
    """

    sent_ms: float
    arrived_ms: float
    version: int

    @property
    def latency_ms(self) -> float:
        """Latency from edge to prediction."""
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
        before: Predictions that arrived in the half minute before the approval.
        during: Predictions that were in flight at some time of the swap.
    """

    before: Latency
    during: Latency


def percentiles(arrivals: Sequence[Arrival]) -> Latency:
    """Compute the median and the 99th percentile."""
    if not arrivals:
        return Latency(None, None, 0)
    values = np.array([arrival.latency_ms for arrival in arrivals])
    p50, p99 = np.percentile(values, [50, 99])
    return Latency(float(p50), float(p99), len(values))


def around(
    arrivals: Sequence[Arrival], begun_ms: float, ended_ms: float, before_ms: float = BEFORE_MS
) -> Around:
    """Compare latencies during a swap with those before it.

    Args:
        arrivals: All predictions.
        begun_ms: When the version was approved.
        ended_ms: When the last partition was stamped; `AFTER_MS` is added.
        before_ms: Length of the interval *before* the swap.
    """
    before = [a for a in arrivals if begun_ms - before_ms <= a.arrived_ms < begun_ms]
    during = [a for a in arrivals if a.sent_ms <= ended_ms + AFTER_MS and a.arrived_ms >= begun_ms]
    return Around(percentiles(before), percentiles(during))
