"""A micro-batch on its way to the broker, while the next one is fetched and forecast.

```
main thread      fetch 2, read 2, write down 2 ──► wait for the end of 1 ──► launch 2, fetch 3, ...
network thread           forecast 2, run by run
writer thread    produce and commit 1 ──────────────────────────────────► the same with 2
```

Never more than one is under way: the next is launched once it is known that the last one has
been committed. So a micro-batch that fails has nothing behind it that the broker knows of; what
has been fetched meanwhile is dropped, and read again from where the group has committed.
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
    """Writes one micro-batch after the other on a thread of its own."""

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
        """Begin to write a micro-batch; the last one must have been landed."""
        if self._flight is not None:
            raise RuntimeError("a micro-batch is under way")
        self._flight = _Flight(batch, self._thread.submit(self._write, batch))

    def wait(self, seconds: float | None = None) -> None:
        """Wait until nothing is being written."""
        if self._flight is not None:
            wait([self._flight.end], seconds)

    def land(self) -> Failed | None:
        """Wait for the end of what is under way, if anything is, and hear how it went.

        Returns:
            None if all that was launched has been committed.

        Raises:
            Stopped, KafkaException: See `TransactionalWriter.write`.
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

    def _write(self, batch: Batch) -> None:
        """Write a micro-batch, on the other thread."""
        reached("inference.before-output")
        self._writer.write(batch.records, batch.offsets, batch.group)
        reached("inference.after-commit")
        batch.answers.count()
        REPEATED.inc(batch.reading.repeated)
        BATCH.observe(batch.size)
