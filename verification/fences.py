"""Fences of the ledger: finds the one that applies to a source offset."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Mapping, Sequence

from millrace.contracts.events.ledger import LedgerEntry

Fences = Mapping[int, Sequence[LedgerEntry]]


def fences_of(ledger: Iterable[LedgerEntry], model: str) -> dict[int, list[LedgerEntry]]:
    """A model's fences by partition, in the order of their epochs.

    Of several records of one fence the first counts, as in the stream processor.
    """
    first: dict[tuple[int, int], LedgerEntry] = {}
    for entry in ledger:
        if entry.model == model:
            first.setdefault((entry.partition, entry.epoch), entry)
    fences: dict[int, list[LedgerEntry]] = {}
    for (partition, _), entry in sorted(first.items()):
        fences.setdefault(partition, []).append(entry)
    return fences


def fence_at(fences: Fences, partition: int, offset: int) -> LedgerEntry | None:
    """Find the fence that applies to an offset; None before the first one."""
    entries = fences.get(partition, ())
    at = bisect_right([entry.first_offset for entry in entries], offset)
    return entries[at - 1] if at else None
