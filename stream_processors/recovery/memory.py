"""Recovers assets' memory from its changelog, a batch of records at a time.

    changelog ─► BatchConsumer: one message per partition and poll ─► MemoryTable

Faust's own table takes one message per record, and the overhead per message dominates. Here the
value of a message is the list of the partition's records, in their order, and its offset is that of
the last one. Faust compares that offset with the high watermark as usual, so recovery ends when the
batch with the last record has been applied. If the last offset holds no record (a transaction
marker, or a record removed by compaction), `BatchConsumer` delivers an empty message at that
offset.

Applying a record is idempotent, since the last record of a key counts; so a rebalance may interrupt
recovery anywhere.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

import faust
from faust.types import EventT

from millrace.stream_processors.codec.unpacking import FetchedRecord

#: Messages that are buffered and applied together; each is a whole batch. It must not be 1: Faust
#: keeps fetching the changelog of such a table after recovery.
BUFFERED_MESSAGES: Final = 2


class MemoryTable(faust.Table[bytes, bytes]):
    """A table in memory whose changelog is delivered in batches.

    Attributes:
        applied: Number of records applied since the start; a change is progress. Thread-safe to
            read.
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
            # After recovery, the store uses it to drop the keys of partitions of other owners.
            store._key_partition.update(dict.fromkeys(kept, message.partition))  # noqa: SLF001
            self.applied += len(records)


class Recovery:
    """Progress of the changelog recovery; only `running` may be read outside the event loop."""

    def __init__(self, app: faust.App) -> None:
        """Store the app; its tables may be created later."""
        self._tables: Any = app.tables  # its type lacks the recovery

    @property
    def completed(self) -> bool:
        """Whether the first recovery is complete; never reset."""
        return bool(self._tables.recovery.completed.is_set())

    @property
    def running(self) -> bool:
        """Whether a recovery is in progress, at the start or after a rebalance."""
        return bool(self._tables.recovery.in_recovery)

    def remaining(self) -> int:
        """Offsets of the changelog left to read; 0 when no recovery is in progress."""
        recovery = self._tables.recovery
        return max(0, recovery.active_remaining_total()) if recovery.in_recovery else 0
