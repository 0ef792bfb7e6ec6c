"""Commits one micro-batch in the background, while the next ones are fetched and forecast.

```
main thread      fetch 3 ─► encode 2 ─► (1 is committed) ─► produce 2 ─► fetch 4 ─► ...
network thread   forecast 2 ─────► forecast 3 ───────────────────────────────► ...
writer thread    commit 1 ────────────────►                 commit 2 ────────────► ...

IDLE ──submit──► IN_FLIGHT ──commit returns──► ENDED ────result──► IDLE  committed, undone or unsure
                     └──────deadline─────────► OVERDUE ──result──► IDLE  unsure; abandoned
```

At most one transaction is in flight: the next one is submitted when the last one is known to be
committed. So no record after a failed micro-batch has been produced. Records that were fetched
meanwhile are dropped, and read again from the committed offsets.

The other threads only block in native calls. Each record that is passed to the client, and each
result of the network, releases the GIL briefly; two threads doing such work would contend at every
record (measured: twice the time for both).

A commit that misses its deadline is abandoned, with its thread and its writer. A new writer with
the same transactional id fences it, and then the output shows whether it was committed.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from enum import Enum, auto
from math import inf
from typing import Any, NamedTuple

from confluent_kafka import TopicPartition

from millrace.inference.batch.fates import Fates, fates_of
from millrace.inference.batch.reading import Reading
from millrace.inference.batch.records import Record
from millrace.inference.batch.results import MicroBatchResults
from millrace.inference.kafka.transactions import (
    COMMIT_SECONDS,
    TransactionalWriter,
    Undone,
    Unsure,
)
from millrace.inference.metrics import BATCH, REPEATED
from millrace.infra.process.fault_points import reached
from millrace.infra.progress.balance import Balance


class Batch(NamedTuple):
    """A micro-batch that is read and being forecast.

    Attributes:
        reading: The decoded micro-batch.
        answers: Its predictions and dead letters, as they complete.
        offsets: The next offset of each of its partitions.
        group: Group metadata of the replica while it owned these partitions; the broker refuses the
            commit if one was reassigned meanwhile.
        size: Number of records.
        generation: The consumer's generation in which it was fetched.
    """

    reading: Reading
    answers: MicroBatchResults
    offsets: list[TopicPartition]
    group: Any
    size: int
    generation: int


class Failed(NamedTuple):
    """A micro-batch that was not committed, or whose commit is in doubt.

    Attributes:
        partitions: Partitions of its records.
        why: `Undone` or `Unsure`.
    """

    partitions: frozenset[int]
    why: Undone | Unsure


class State(Enum):
    """State of the pipeline, see the module."""

    IDLE = auto()
    IN_FLIGHT = auto()
    ENDED = auto()
    OVERDUE = auto()


class _Flight(NamedTuple):
    batch: Batch
    fates: Fates
    end: Future[None]
    #: Deadline of the commit, seconds of the monotonic clock.
    until: float

    @property
    def left(self) -> float:
        """Time left until the deadline, seconds."""
        return max(0.0, self.until - time.monotonic())


class CommitPipeline:
    """Writes micro-batches in sequence, and commits each on its own thread."""

    def __init__(
        self,
        connect: Callable[[], TransactionalWriter],
        balance: Balance,
        seconds: float = COMMIT_SECONDS,
    ) -> None:
        """Connect; the pipeline is idle.

        Args:
            connect: Creates a writer, which fences earlier ones. It belongs to the writer thread
                while a transaction is in flight.
            balance: Receives the fates of the records of a committed micro-batch.
            seconds: Deadline of a commit.
        """
        self._connect = connect
        self._balance = balance
        self._seconds = seconds
        self._writer = connect()
        self._thread = ThreadPoolExecutor(1, "writer")
        self._flight: _Flight | None = None
        #: Whether a commit was abandoned: its thread may never end.
        self.abandoned = False

    @property
    def state(self) -> State:
        """The present state."""
        if self._flight is None:
            return State.IDLE
        if self._flight.end.done():
            return State.ENDED
        return State.IN_FLIGHT if self._flight.left else State.OVERDUE

    @property
    def under_way(self) -> dict[int, int]:
        """Records of each partition whose transaction has no known result yet."""
        found: dict[int, int] = {}
        for (partition, _), count in (self._flight.fates if self._flight else {}).items():
            found[partition] = found.get(partition, 0) + count
        return found

    def submit(self, batch: Batch, records: Sequence[Record]) -> None:
        """Produce a micro-batch, and start its commit; the pipeline must be idle.

        A failure to produce is returned by `result`.

        Args:
            batch: The micro-batch.
            records: Its predictions and dead letters, in order.

        Raises:
            Stopped, KafkaException: See `TransactionalWriter.commit`.
        """
        if self._flight is not None:
            raise RuntimeError("a micro-batch is under way")
        reached("inference.before-output")
        try:
            self._writer.produce(records)
        except (Undone, Unsure) as why:
            end: Future[None] = Future()
            end.set_exception(why)
        else:
            end = self._thread.submit(self._commit, self._writer, batch)
        fates = fates_of(batch.reading, records)
        self._flight = _Flight(batch, fates, end, time.monotonic() + self._seconds)

    def wait(self, seconds: float = inf) -> None:
        """Wait until the transaction ends or its deadline passes."""
        if self._flight is not None:
            wait([self._flight.end], min(seconds, self._flight.left))

    def result(self) -> Failed | None:
        """Wait for the in-flight transaction; return its failure, or None.

        Returns:
            None if every submitted micro-batch is committed.

        Raises:
            Stopped, KafkaException: See `TransactionalWriter.commit`.
        """
        if self._flight is None:
            return None
        batch, fates, end, _ = self._flight
        self.wait()
        self._flight = None
        partitions = frozenset(batch.reading.next_offsets)
        if not end.done():
            self._thread.shutdown(wait=False)
            self._thread = ThreadPoolExecutor(1, "writer")
            self.abandoned = True
            return Failed(partitions, Unsure(f"no end of its commit in {self._seconds:g} s"))
        try:
            end.result()
        except (Undone, Unsure) as why:
            return Failed(partitions, why)
        for (partition, fate), count in fates.items():
            self._balance.settle(partition, fate, count)
        return None

    def renew(self) -> None:
        """Replace a failed writer; blocks until a broker is available.

        Raises:
            Stopped, KafkaException: See `TransactionalWriter`.
        """
        self._writer.close()
        self._writer = self._connect()

    def close(self, seconds: float) -> None:
        """Wait for the transaction in flight, at most ``seconds``."""
        self.wait(seconds)
        self.abandoned |= self._flight is not None and not self._flight.end.done()
        self._thread.shutdown(wait=False)

    @staticmethod
    def _commit(writer: TransactionalWriter, batch: Batch) -> None:
        """Commit a micro-batch, on the writer thread."""
        reached("inference.between-output-and-offsets")
        writer.commit(batch.offsets, batch.group)
        reached("inference.after-commit")
        batch.answers.count()
        REPEATED.inc(sum(batch.reading.repeated.values()))
        BATCH.observe(batch.size)
