"""What became of every record that a service was handed, by partition: read = the sum of its fates.

    records read ─► settled as normalised | predicted | refused | repeated | undone
              read - settled = waiting

In one life of a process, and at every moment at which nothing is under way, the counts of a
partition balance exactly: a record that has no fate, or two, is seen here, whatever the reason.
What Kafka dropped before it could be read was never handed over; `losses` counts that.

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

#: What may become of a record.
#:
#: * normalised: it is written to `sensor.windows.normalized`;
#: * predicted: its prediction is committed;
#: * refused: it is a dead letter, written in this life;
#: * repeated: it has no effect, since it was seen before, was sent again in vain, or was settled
#:   by an earlier life;
#: * undone: it was dropped before its micro-batch was committed, or that is in doubt; whatever has
#:   not been committed is read again, and then counts again.
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
            fates: Shown as 0 from a partition's first record on, so that a rate can be told from
                the first one that has them.
        """
        self._topic = topic
        self._fates = fates
        self._waiting: Counter[int] = Counter()
        self._metrics: dict[tuple[int, Fate], Metric] = {}

    def read(self, partition: int, count: int) -> None:
        """Count records that were handed over."""
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
        """Count all that waits as undone, but for what is still under way.

        Args:
            keep: How many records of each partition that is.
        """
        for partition, waiting in self._waiting.items():
            self.settle(partition, "undone", waiting - keep.get(partition, 0))

    def waiting(self, partition: int) -> int:
        """How many records of a partition have no fate yet."""
        return self._waiting[partition]

    @property
    def open(self) -> dict[int, int]:
        """Partitions with records that have no fate yet, or more fates than records."""
        return {partition: count for partition, count in self._waiting.items() if count}

    def _metric(self, partition: int, fate: Fate) -> Metric:
        """Find a metric; remembered, since finding one takes longer than counting."""
        key = partition, fate
        if key not in self._metrics:
            self._metrics[key] = SETTLED.labels(self._topic, str(partition), fate)
        return self._metrics[key]
