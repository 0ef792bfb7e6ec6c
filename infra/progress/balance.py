"""Accounts for every record that a service consumed, by partition: read = the sum of its fates.

    records read ─► settled as normalised | predicted | refused | repeated | undone
              read - settled = waiting

Within one process, and whenever no record is in flight, the counts of a partition balance exactly:
a record that has no fate, or two, shows up here, whatever the reason. Records that Kafka deleted
before they could be read were never consumed; `losses` counts those.

>>> balance = Balance("doctest")
>>> balance.read(3, 10)
>>> balance.settle(3, "predicted", 7)
>>> balance.settle(3, "repeated", 1)
>>> balance.waiting(3)
2
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Final, Literal

from prometheus_client import Counter as Metric

#: Possible fates of a record.
#:
#: * normalised: it is written to `sensor.windows.normalized`;
#: * predicted: its prediction is committed;
#: * refused: it is a dead letter, written by this process;
#: * repeated: it has no effect, since it is a duplicate, a rejected retry, or was settled before
#:   the last restart;
#: * undone: it was dropped before its micro-batch was committed, or the commit is in doubt;
#:   records that have not been committed are read again, and then count again.
Fate = Literal["normalised", "predicted", "refused", "repeated", "undone"]

READ: Final = Metric(
    "millrace_records_read_total", "Records that a service was handed", ["topic", "partition"]
)
SETTLED: Final = Metric(
    "millrace_records_settled_total",
    "What became of the records that a service was handed",
    ["topic", "partition", "fate"],
)


class Balance:
    """Counts for one topic; owned by one thread."""

    def __init__(self, topic: str, fates: tuple[Fate, ...] = ()) -> None:
        """Start with nothing read.

        Args:
            topic: The topic, without the namespace.
            fates: Exported as 0 from a partition's first record on, so that a rate includes the
                first record that has such a fate.
        """
        self._topic = topic
        self._fates = fates
        self._waiting: Counter[int] = Counter()
        self._metrics: dict[tuple[int, Fate], Metric] = {}

    def read(self, partition: int, count: int) -> None:
        """Count records that were consumed."""
        if partition not in self._waiting:
            for fate in self._fates:
                self._metric(partition, fate)
        self._waiting[partition] += count
        READ.labels(self._topic, str(partition)).inc(count)

    def settle(self, partition: int, fate: Fate, count: int) -> None:
        """Count records whose fate is decided."""
        if count:
            self._waiting[partition] -= count
            self._metric(partition, fate).inc(count)

    def undo(self, keep: Mapping[int, int]) -> None:
        """Count all waiting records as undone, except those that are still in flight.

        Args:
            keep: Number of records in flight, by partition.
        """
        for partition, waiting in self._waiting.items():
            self.settle(partition, "undone", waiting - keep.get(partition, 0))

    def waiting(self, partition: int) -> int:
        """Number of records of a partition that have no fate yet."""
        return self._waiting[partition]

    @property
    def open(self) -> dict[int, int]:
        """Partitions with records that have no fate yet, or more fates than records."""
        return {partition: count for partition, count in self._waiting.items() if count}

    def _metric(self, partition: int, fate: Fate) -> Metric:
        """Find a metric; cached, since finding one takes longer than counting."""
        key = partition, fate
        if key not in self._metrics:
            self._metrics[key] = SETTLED.labels(self._topic, str(partition), fate)
        return self._metrics[key]
