"""How long a system took to recover: from a fault to the first prediction that shows it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import takewhile

from millrace.contracts.headers import SOURCE_OFFSET, header
from tests.faults.harness.observer import Seen


def seconds_to_recover(mark: float, windows: Sequence[Seen], predictions: Sequence[Seen]) -> float:
    """Measure from a fault to the first prediction of a window that was sent after it.

    A prediction that merely arrives after the fault may have been on its way before. Where
    no window was sent after the fault (an edge that spools has sent before), the first
    prediction that arrives after it counts.

    Args:
        mark: When the fault happened, or ended: wall clock in seconds.
        windows: Records of `sensor.windows`.
        predictions: Records of `predictions`, as they arrived.

    Returns:
        Seconds; infinity if there is no such prediction.
    """
    sent = {(w.partition, w.offset) for w in windows if w.timestamp_ms >= mark * 1000}
    arrivals = [p.arrived for p in _after(mark, predictions) if not sent or _source(p) in sent]
    return min(arrivals, default=float("inf")) - mark


def _after(mark: float, records: Sequence[Seen]) -> Iterator[Seen]:
    return takewhile(lambda record: record.arrived > mark, reversed(records))


def _source(prediction: Seen) -> tuple[int, int]:
    return prediction.partition, int(header(prediction.headers, SOURCE_OFFSET) or -1)
