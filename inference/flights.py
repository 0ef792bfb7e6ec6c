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
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from typing import Any, NamedTuple

from confluent_kafka import TopicPartition

from inference.answers import Answers
from inference.metrics import BATCH, REPEATED
from inference.reading import Reading
from inference.records import Record
from inference.transactions import TransactionalWriter, Undone, Unsure
from infra.fault_points import reached


class Batch(NamedTuple):
    """A micro-batch that has been read.

    Attributes:
        reading: What was read.
        answers: What was said about it.
        records: Predictions and dead letters, in order.
        offsets: The next offset of each of its partitions.
        group: The replica's place in the group while these partitions were its own; what
            somebody else has taken over meanwhile, the broker does not commit.
        size: Records.
    """

    reading: Reading
    answers: Answers
    records: Sequence[Record]
    offsets: list[TopicPartition]
    group: Any
    size: int


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
    end: Future[None]


class Flights:
    """Writes one micro-batch after the other, and commits it on a thread of its own."""

    def __init__(self, writer: TransactionalWriter) -> None:
        """Start with nothing under way.

        Args:
            writer: The other thread's while something is under way.
        """
        self._writer = writer
        self._thread = ThreadPoolExecutor(1, "writer")
        self._flight: _Flight | None = None

    @property
    def over(self) -> bool:
        """Whether a micro-batch has come to its end, whichever, and has not been landed."""
        return self._flight is not None and self._flight.end.done()

    def launch(self, batch: Batch) -> None:
        """Produce a micro-batch, and begin to commit it; the last one must have been landed.

        That it could not be produced is heard where it is landed.

        Raises:
            Stopped, KafkaException: See `TransactionalWriter.commit`.
        """
        if self._flight is not None:
            raise RuntimeError("a micro-batch is under way")
        reached("inference.before-output")
        try:
            self._writer.produce(batch.records)
        except (Undone, Unsure) as why:
            self._flight = _Flight(batch, Future())
            self._flight.end.set_exception(why)
        else:
            self._flight = _Flight(batch, self._thread.submit(self._commit, batch))

    def wait(self, seconds: float | None = None) -> None:
        """Wait until nothing is being written."""
        if self._flight is not None:
            wait([self._flight.end], seconds)

    def land(self) -> Failed | None:
        """Wait for the end of what is under way, if anything is, and hear how it went.

        Returns:
            None if all that was launched has been committed.

        Raises:
            Stopped, KafkaException: See `TransactionalWriter.commit`.
        """
        if self._flight is None:
            return None
        batch, end = self._flight
        self._flight = None
        try:
            end.result()
        except (Undone, Unsure) as why:
            return Failed(frozenset(batch.reading.next_offsets), why)
        return None

    def close(self, seconds: float) -> None:
        """Let what is under way come to its end, if that does not take too long."""
        self.wait(seconds)
        self._thread.shutdown(wait=False)

    def _commit(self, batch: Batch) -> None:
        """Commit a micro-batch, on the other thread."""
        reached("inference.between-output-and-offsets")
        self._writer.commit(batch.offsets, batch.group)
        reached("inference.after-commit")
        batch.answers.count()
        REPEATED.inc(batch.reading.repeated)
        BATCH.observe(batch.size)
