"""Decides which version a window is stamped with, by the fences of the ledger.

A stamp follows the registry's serving epoch. Where a partition's stamp changes, an entry in
`serving.ledger` is written *and confirmed* before the first window with the new stamp is:
every stamp that a reader sees has its entry in the ledger. The ledger is the authority: a window
that is processed again after a crash gets the same stamp.

Rules that hold across crashes:

- a fence begins after the last window that was already written with an older stamp, which is read
  from the output topic (`output_progress`), and never before the preceding fence;
- a fence in the ledger is not written again, and epochs of fences never decrease.
"""

from __future__ import annotations

import bisect
from collections.abc import Iterable, Sequence
from datetime import datetime

from millrace.contracts.events.ledger import LedgerEntry
from millrace.registry.state import Model


class Stamps:
    """Fences by model and partition."""

    def __init__(self) -> None:
        """Start without fences; `learn` adds those of the ledger."""
        self._fences: dict[tuple[str, int], list[LedgerEntry]] = {}

    def learn(self, entry: LedgerEntry) -> None:
        """Add a fence from the ledger; idempotent."""
        fences = self._fences.setdefault((entry.model, entry.partition), [])
        place = bisect.bisect_left(fences, entry.epoch, key=_epoch)
        if place == len(fences) or fences[place].epoch != entry.epoch:
            fences.insert(place, entry)

    def at(self, model: str, partition: int, offset: int) -> LedgerEntry:
        """Find the stamp of a window.

        Raises:
            LookupError: The partition has no fence; call `due` before windows are stamped.
        """
        fences = self._fences.get((model, partition), [])
        for fence in reversed(fences):
            if fence.first_offset <= offset:
                return fence
        if not fences:
            raise LookupError(f"model {model} has no fence in partition {partition}")
        return fences[0]

    def of(self, model: str, partition: int, offsets: Sequence[int]) -> list[LedgerEntry]:
        """Find the stamps of windows of one partition, in their order; see `at`.

        Args:
            model: The model.
            partition: The partition.
            offsets: Offsets of the windows, ascending; at least one.
        """
        first, last = self.at(model, partition, offsets[0]), self.at(model, partition, offsets[-1])
        if first is last:
            return [first] * len(offsets)
        return [self.at(model, partition, offset) for offset in offsets]

    def due(
        self, models: Iterable[Model], partition: int, first_offset: int, at: datetime
    ) -> list[LedgerEntry]:
        """Decide which fences a partition needs before its next window.

        Args:
            models: All models.
            partition: Partition of `sensor.windows`.
            first_offset: Offset of the first window that will carry the stamp.
            at: Wall clock.

        Returns:
            Entries to write and confirm; call `learn` for each afterwards.
        """
        entries = []
        for model in models:
            name, serving = model.spec.name, model.serving
            fences = self._fences.get((name, partition))
            if serving is None or (fences and fences[-1].epoch >= serving.epoch):
                continue
            first = max(first_offset, fences[-1].first_offset) if fences else first_offset
            entries.append(LedgerEntry(name, partition, serving.epoch, serving.version, first, at))
        return entries


def _epoch(entry: LedgerEntry) -> int:
    return entry.epoch
