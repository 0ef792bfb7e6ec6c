"""A micro-batch on its way to the broker, while the next ones are fetched and forecast.

```
main thread      fetch 3 ─► write down 2 ─► (1 is committed) ─► produce 2 ─► fetch 4 ─► ...
network thread   forecast 2 ─────► forecast 3 ───────────────────────────────► ...
writer thread    commit 1 ────────────────►                     commit 2 ────────────► ...
```

Never more than one is under way: the next is launched once it is known that the last one has
been committed. So a micro-batch that fails has nothing behind it that the broker knows of; what
has been fetched meanwhile is dropped, and read again from where the group has committed.

Only what waits is left to other threads. Each record that is handed to the client, and each
answer of the network, gives the interpreter away for a moment; with two threads at such work
each of them waits for the other at every record (measured: twice the time for both).

What does not come to its end in time is left behind, with its thread and its writer: another
writer with the same transactional id fences it, and then the output tells whether it was
committed.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
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
    """A micro-batch that has been read, and is being forecast.

    Attributes:
        reading: What was read.
        answers: What is being said about it.
        offsets: The next offset of each of its partitions.
        group: The replica's place in the group while these partitions were its own; what
            somebody else has taken over meanwhile, the broker does not commit.
        size: Records.
        tenure: Which of the replica's tenures it was fetched in.
    """

    reading: Reading
    answers: MicroBatchResults
    offsets: list[TopicPartition]
    group: Any
    size: int
    tenure: int


class Failed(NamedTuple):
    """A micro-batch of which nothing has been done, or of which that is not known.

    Attributes:
        partitions: Partitions of its records.
        why: Which of the two.
    """

    partitions: frozenset[int]
    why: Undone | Unsure


class _Flight(NamedTuple):
    batch: Batch
    fates: Fates
    end: Future[None]
    #: When it is left behind, seconds of the monotonic clock.
    until: float

    @property
    def left(self) -> float:
        """How long it may still take, seconds."""
        return max(0.0, self.until - time.monotonic())


class CommitPipeline:
    """Writes one micro-batch after the other, and commits it on a thread of its own."""

    def __init__(
        self,
        connect: Callable[[], TransactionalWriter],
        balance: Balance,
        seconds: float = COMMIT_SECONDS,
    ) -> None:
        """Connect; nothing is under way yet.

        Args:
            connect: Makes a writer, which fences those before it. It is the other thread's
                while something is under way.
            balance: Told what became of the records of a micro-batch that is committed.
            seconds: How long a commit may take.
        """
        self._connect = connect
        self._balance = balance
        self._seconds = seconds
        self._writer = connect()
        self._thread = ThreadPoolExecutor(1, "writer")
        self._flight: _Flight | None = None
        #: Whether a commit has been left behind: its thread may never end.
        self.abandoned = False

    @property
    def over(self) -> bool:
        """Whether a micro-batch has come to its end, whichever, and has not been landed."""
        return self._flight is not None and (self._flight.end.done() or not self._flight.left)

    @property
    def under_way(self) -> dict[int, int]:
        """How many records of each partition have been launched and not landed."""
        found: dict[int, int] = {}
        for (partition, _), count in (self._flight.fates if self._flight else {}).items():
            found[partition] = found.get(partition, 0) + count
        return found

    def submit(self, batch: Batch, records: Sequence[Record]) -> None:
        """Produce a micro-batch, and begin to commit it; the last one must have been landed.

        That it could not be produced is heard where it is landed.

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
        """Wait until nothing is being written, or has been left behind."""
        if self._flight is not None:
            wait([self._flight.end], min(seconds, self._flight.left))

    def result(self) -> Failed | None:
        """Wait for the in-flight transaction; return its failure, or None.

        Returns:
            None if all that was launched has been committed.

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
        """Put another writer in the place of one that has failed; waits for the broker.

        Raises:
            Stopped, KafkaException: See `TransactionalWriter`.
        """
        self._writer.close()
        self._writer = self._connect()

    def close(self, seconds: float) -> None:
        """Let what is under way come to its end, if that does not take too long."""
        self.wait(seconds)
        self.abandoned |= self._flight is not None and not self._flight.end.done()
        self._thread.shutdown(wait=False)

    @staticmethod
    def _commit(writer: TransactionalWriter, batch: Batch) -> None:
        """Commit a micro-batch, on the other thread."""
        reached("inference.between-output-and-offsets")
        writer.commit(batch.offsets, batch.group)
        reached("inference.after-commit")
        batch.answers.count()
        REPEATED.inc(sum(batch.reading.repeated.values()))
        BATCH.observe(batch.size)
