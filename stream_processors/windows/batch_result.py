"""What became of a batch, row by row."""

from __future__ import annotations

from dataclasses import dataclass, field

from millrace.contracts.events.normalized_window import NormalizedWindow
from millrace.contracts.invalid_record import InvalidRecord
from millrace.stream_processors.windows.retries import RetryDecisions

#: Key, window and packed headers of a record that is to be written.
Made = tuple[bytes | None, NormalizedWindow, bytes]


@dataclass
class BatchResult:
    """What became of a batch, by row.

    Attributes:
        refused: Why a record is a dead letter.
        passed: Records that are not taken though they may be windows: an earlier life refused
            them, or they were sent again in vain.
        taken: First origins of those that were sent again and are taken.
        changed: Those of the refused that were taken before with other readings.
        made: What is to be written of the windows that were taken, with their rows, ascending.
    """

    refused: dict[int, InvalidRecord]
    passed: set[int] = field(default_factory=set)
    taken: dict[int, int] = field(default_factory=dict)
    changed: set[int] = field(default_factory=set)
    made: list[tuple[int, Made]] = field(default_factory=list)

    def add(self, final: set[int], again: RetryDecisions) -> None:
        """Take in what is known of a partition.

        Args:
            final: Records that an earlier life refused.
            again: What becomes of those that were sent again.
        """
        self.passed |= {*final, *again.passed, *again.refused}
        self.refused |= again.refused
        for row in again.passed:
            self.refused.pop(row, None)
        self.taken |= again.taken
