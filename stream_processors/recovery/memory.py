"""Reads assets' memory back from its changelog, a batch of records at a time.

    changelog ─► BatchConsumer: one message per partition and poll ─► MemoryTable

Faust's own table takes a message per record, and its machinery for one costs more than all else.
Here the value of a message is the list of the partition's records, in their order, and its offset
is that of the last one. Faust compares that offset with the log's end as it always does, so that
recovery ends when the batch with the last record has been applied. Where no record lies at the
end (transaction markers, or what compaction has removed) `BatchConsumer` delivers a message
without records at the last offset.

A record that is applied twice has no second effect, since the last record of a key counts; so a
rebalance may interrupt recovery anywhere.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

import faust
from faust.types import EventT

from millrace.stream_processors.codec.unpacking import FetchedRecord

#: Messages that wait until they are applied together. Each is a whole batch. Not 1: Faust goes on
#: fetching the changelog after the recovery of such a table.
BUFFERED_MESSAGES: Final = 2


class MemoryTable(faust.Table[bytes, bytes]):
    """A table in memory whose changelog is delivered in batches.

    Attributes:
        applied: Records that were read back since the start; another value is progress. May be
            read from any thread.
    """

    applied = 0

    def __init__(self, *arguments: Any, **options: Any) -> None:
        """Take Faust's arguments."""
        super().__init__(*arguments, recovery_buffer_size=BUFFERED_MESSAGES, **options)

    def apply_changelog_batch(self, batch: Iterable[EventT[Any]]) -> None:
        """Apply messages, each with the records of a partition; a record without value deletes."""
        store: Any = self.data
        for event in batch:
            message: Any = event.message  # typed as one record
            records: list[FetchedRecord] = message.value
            latest = {record.key: record.value for record in records}
            kept = {key: value for key, value in latest.items() if value is not None}
            for key in latest.keys() - kept.keys():
                store.data.pop(key, None)
                store._key_partition.pop(key, None)  # noqa: SLF001  (see below)
            store.data.update(kept)
            # By it the store forgets what is in partitions of other owners, after recovery.
            store._key_partition.update(dict.fromkeys(kept, message.partition))  # noqa: SLF001
            self.applied += len(records)


class Recovery:
    """How far the reading of the changelog has come; for the event loop, but for `running`."""

    def __init__(self, app: faust.App) -> None:
        """Take the app; its tables need not be there yet."""
        self._tables: Any = app.tables  # typed as a port that does not know its recovery

    @property
    def completed(self) -> bool:
        """Whether all memory has been read back once; Faust keeps that for good."""
        return bool(self._tables.recovery.completed.is_set())

    @property
    def running(self) -> bool:
        """Whether memory is being read back now, at the start or after a rebalance."""
        return bool(self._tables.recovery.in_recovery)

    def remaining(self) -> int:
        """Offsets of the changelog that are still to be read; 0 when none is being read."""
        recovery = self._tables.recovery
        return max(0, recovery.active_remaining_total()) if recovery.in_recovery else 0
