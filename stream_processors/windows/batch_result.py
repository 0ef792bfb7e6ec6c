"""Result of a batch, by row."""

from __future__ import annotations

from dataclasses import dataclass, field

from millrace.contracts.events.normalized_window import NormalizedWindow
from millrace.contracts.invalid_record import InvalidRecord
from millrace.stream_processors.windows.retries import RetryDecisions

#: Key, window and packed headers of a record that is to be written.
Made = tuple[bytes | None, NormalizedWindow, bytes]


@dataclass
class BatchResult:
    """Result of a batch, by row.

    Attributes:
        refused: Why a record becomes a dead letter.
        passed: Records that are ignored though they may be valid: an earlier process refused them,
            or their origin has an accepted retry already.
        taken: Origins of the accepted retries.
        changed: Refused windows that were accepted earlier with different readings.
        made: Normalised windows to write, with their rows, ascending.
    """

    refused: dict[int, InvalidRecord]
    passed: set[int] = field(default_factory=set)
    taken: dict[int, int] = field(default_factory=dict)
    changed: set[int] = field(default_factory=set)
    made: list[tuple[int, Made]] = field(default_factory=list)

    def add(self, final: set[int], again: RetryDecisions) -> None:
        """Add the decisions about a partition's records.

        Args:
            final: Records that an earlier process refused.
            again: Decisions about its retries.
        """
        self.passed |= {*final, *again.passed, *again.refused}
        self.refused |= again.refused
        for row in again.passed:
            self.refused.pop(row, None)
        self.taken |= again.taken
