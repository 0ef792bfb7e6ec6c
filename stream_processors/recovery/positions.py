"""Progress of each partition of `sensor.windows`, recovered from the outputs.

When a partition is assigned, its state is read from the broker: its progress (`lineages.Ends`), the
records that an earlier process refused, and the retries that were accepted. The latter two are read
once, when first needed.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import structlog

from millrace.contracts.topics import DEAD_LETTERS, Topic
from millrace.stream_processors.recovery.history import History
from millrace.stream_processors.transport.records import Record
from millrace.stream_processors.windows.first_origins import FirstOrigins
from millrace.stream_processors.windows.retries import (
    NOTHING,
    Retries,
    RetryDecisions,
    oldest_origin,
    resolve,
)

_log = structlog.get_logger(__name__)


class Position:
    """Progress of one partition.

    Attributes:
        next: Next unprocessed offset, recovered from the outputs; lower offsets are
            redeliveries. See `Ends.next`.
        taken: Offset after the last record that was processed, including redeliveries, since the
            partition was assigned; 0 if none was.
    """

    def __init__(self, partition: int, history: History) -> None:
        """Start at the first offset that the outputs do not cover.

        Args:
            partition: The partition.
            history: Outputs of earlier processes.
        """
        ends = history.ends(partition)
        self.next, self._written = ends.next, ends.written
        self.taken = 0
        self._partition = partition
        self._history = history
        self._refused: set[int] | None = None
        self._retries: Retries | None = None
        self._letters: FirstOrigins | None = None

    def written_through(self, topic: Topic) -> int:
        """Last source offset in an output topic when the partition was assigned; -1 if none."""
        return self._written.get(topic.name, -1)

    def is_written(self, topic: Topic, offset: int) -> bool:
        """Whether the output record of a source offset was already written."""
        return offset <= self.written_through(topic)

    async def refused_before(self, records: Sequence[Record], rows: range) -> set[int]:
        """Rows that an earlier process refused. That is final, since they may have been retried.

        Args:
            records: A batch.
            rows: The partition's rows.
        """
        first = records[rows.start].offset
        if not self.is_written(DEAD_LETTERS, first):
            return set()
        if self._refused is None:
            self._refused = await asyncio.to_thread(
                self._history.refused_since, self._partition, first
            )
        return {row for row in rows if records[row].offset in self._refused}

    async def resolve(
        self, records: Sequence[Record], own: range, rows: Sequence[int], invalid: set[int]
    ) -> RetryDecisions:
        """Accept or reject the retries in a batch; usually there are none.

        Args:
            records: A batch. If it has retries, all letters of earlier batches must be confirmed.
            own: The partition's rows.
            rows: The retries among them, ascending.
            invalid: Invalid rows of any partition, regardless of their origin.
        """
        if rows:
            oldest = oldest_origin(self._partition, records, rows)
            await self._learn_letters(records[own.start].offset if oldest is None else oldest)
        if self._letters is None:
            return NOTHING
        for row in sorted(invalid.intersection(own).difference(rows)):
            self._letters.add(records[row].offset)
        if not rows:
            return NOTHING
        if self._retries is None:
            self._retries = Retries(await asyncio.to_thread(self._history.mended, self._partition))
        return resolve(self._partition, records, rows, invalid, self._retries, self._letters)

    async def _learn_letters(self, oldest: int) -> None:
        """Read the letters back to an origin; at the second call, back to the first letter."""
        if self._letters is not None and self._letters.since <= oldest:
            return
        since = oldest if self._letters is None else 0
        found = await asyncio.to_thread(self._history.refused_first_since, self._partition, since)
        self._letters = FirstOrigins(found, since=since)

    def refuse(self, offset: int, origin: int | None) -> None:
        """Record that a row is refused after `resolve`.

        Args:
            offset: Its offset.
            origin: The origin that it resolved, which is open again; None if it is no retry.
        """
        if origin is None and self._letters is not None:
            self._letters.add(offset)
        if origin is not None and self._retries is not None:
            self._retries.give_back(origin)


class Positions:
    """Positions of the assigned partitions."""

    def __init__(self, history: History) -> None:
        """Start with none."""
        self._history = history
        self._known: dict[int, Position] = {}

    def of(self, partition: int) -> Position:
        """Return a partition's position; initially that at its assignment."""
        position = self._known.get(partition)
        if position is None:
            position = self._known[partition] = Position(partition, self._history)
            _log.info("partition taken", partition=partition, next=position.next)
        return position

    @property
    def known(self) -> set[int]:
        """Partitions whose position was requested."""
        return set(self._known)

    def forget(self) -> None:
        """Drop all positions, because of a rebalance."""
        self._known.clear()
