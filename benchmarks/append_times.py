"""When the broker appended each record of an output: the clock of every throughput figure.

Output topics have ``message.timestamp.type=LogAppendTime``, so the broker itself stamps each
record with the moment at which it had it. That is the same clock for every contender, costs
none of them anything, and counts only what was written: a contender that works ahead of its
writes gains nothing by it. Start-up, connecting and joining the group are not in the figure: it
covers the time from a first share of the records, and from when all processes had their
partitions, to the last record.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final

import numpy as np
import numpy.typing as npt
from confluent_kafka import TopicPartition

from millrace.contracts.errors import ServerError
from millrace.infra.kafka.clients import partitions_of, reader, watermarks
from millrace.infra.settings import Settings

#: Share of the records before the measurement begins.
SKIPPED: Final = 0.1
_POLL_SECONDS: Final = 0.05


def written(settings: Settings, topic: str) -> Callable[[], int]:
    """Prepare to ask how many records an output has; each answer costs the broker little."""
    client = reader(settings, {"isolation.level": "read_uncommitted"})
    name = settings.named(topic)
    places = [TopicPartition(name, partition) for partition in partitions_of(client, name)]

    def count() -> int:
        return sum(high for _, high in (watermarks(client, place) for place in places))

    return count


def append_times(settings: Settings, topic: str) -> npt.NDArray[np.float64]:
    """Read when each record of an output was appended.

    Returns:
        Seconds since the epoch, ascending, one for each record; markers of transactions are
        not records.
    """
    client = reader(settings, {"fetch.message.max.bytes": 8 << 20})
    name = settings.named(topic)
    try:
        ends = {}
        for partition in partitions_of(client, name):
            low, high = watermarks(client, TopicPartition(name, partition))
            if high > low:
                ends[partition] = high
        places = [TopicPartition(name, partition, 0) for partition in ends]
        client.assign(places)
        times: list[int] = []
        while ends:
            found = client.consume(10_000, timeout=0.2)
            times += [message.timestamp()[1] for message in found if message.error() is None]
            for position in client.position(places):
                if position.offset >= ends.get(position.partition, 1 << 62):
                    del ends[position.partition]
    finally:
        client.close()
    return np.sort(np.array(times, dtype=np.float64)) / 1000


def throughput(times: npt.NDArray[np.float64], since: float = 0.0) -> float:
    """Records per second, from a first share of them, and from a moment on, to the last one.

    >>> round(throughput(np.arange(0.0, 10.0, 0.1)))
    10
    >>> two_at_last = np.concatenate([np.arange(0.0, 8.0, 0.1), np.arange(8.0, 10.0, 0.05)])
    >>> round(throughput(two_at_last, since=8.0))
    20
    """
    first = max(int(len(times) * SKIPPED), int(np.searchsorted(times, since)))
    if first >= len(times):
        return float("nan")
    seconds = times[-1] - times[first]
    # Records of the same moment as the first counted one were there when the clock started.
    counted = len(times) - int(np.searchsorted(times, times[first], side="right"))
    return float(counted / seconds) if seconds > 0 else float("nan")


def await_written(
    count: Callable[[], int],
    wanted: int,
    *,
    start_seconds: float,
    run_seconds: float,
    check: Callable[[], None],
    progress: Callable[[float], None] = lambda _: None,
    begun: Callable[[], bool] = lambda: True,
) -> int:
    """Wait until an output has so many records, or the time for it is over.

    Args:
        count: From `written`.
        wanted: Records that are to come.
        start_seconds: Longest wait for the first of them, and for the beginning.
        run_seconds: Longest time from then on: who is slow is measured on fewer.
        check: Called between two looks; raises if the writer has ended.
        progress: Told which share is there.
        begun: Whether the time is running.

    Returns:
        How many there are.

    Raises:
        ServerError: It has not begun in time.
    """
    patience = time.monotonic() + start_seconds
    deadline: float | None = None
    while True:
        there = count()
        progress(min(1.0, there / wanted))
        if there >= wanted:
            return there
        now = time.monotonic()
        if there and deadline is None and begun():
            deadline = now + run_seconds
        if deadline is not None and now > deadline:
            return there
        if deadline is None and now > patience:
            raise ServerError(f"it has not begun within {start_seconds:.0f} s; {there} written")
        check()
        time.sleep(_POLL_SECONDS)
