"""Readings of an asset that open forecasts need, by segment and slot.

A slot is a point in time, counted in sampling periods from a segment's anchor. Readings are stored
in blocks of consecutive slots, so that a gap of any length takes no memory. The first reading of a
slot counts, and a late window fills the gaps between blocks.
"""

from __future__ import annotations

import msgspec


class Block(msgspec.Struct, array_like=True, gc=False):
    """Readings of consecutive moments.

    Attributes:
        first: Slot of the first.
        rows: float32 of shape (slots, targets), NaN where missing.
    """

    first: int
    rows: bytes


class Readings(msgspec.Struct, array_like=True, gc=False):
    """A segment's target readings.

    Attributes:
        anchor: Event time that slots are counted from, milliseconds UTC. Counting from a
            window's own start keeps rounding away from the middle between two slots.
        needed: First slot that an undecided forecast needs; earlier ones are dropped.
        blocks: Known readings, ascending, with a gap between any two blocks.
    """

    anchor: int
    needed: int
    blocks: list[Block] = []

    def add(self, start: int, rows: bytes, width: int) -> Block | None:
        """Add those readings of a window that are needed and not known yet.

        Args:
            start: Slot of the window's first sample.
            rows: Target readings of the window's samples, as in `Block`.
            width: Bytes of a row.

        Returns:
            The block that holds the window's needed readings; None if it has none.
        """
        end = start + len(rows) // width
        first = max(start, self.needed)
        if first >= end:
            return None
        if not self.blocks:
            self.blocks.append(Block(first, rows[(first - start) * width :]))
            return self.blocks[0]
        last = self.blocks[-1]
        known = last.first + len(last.rows) // width
        if last.first <= first <= known:
            if known < end:
                last.rows += rows[(known - start) * width :]
            return last
        return self._merge(first, rows[(first - start) * width :], width)

    def _merge(self, first: int, rows: bytes, width: int) -> Block:
        """Fill gaps with rows of ``width`` bytes; known readings are not replaced."""
        end = first + len(rows) // width
        before, after = [], []
        merged = Block(first, b"")
        reached = first
        for block in self.blocks:
            block_end = block.first + len(block.rows) // width
            if block_end < first:
                before.append(block)
            elif block.first > end:
                after.append(block)
            else:
                gap = rows[(reached - first) * width : max(0, block.first - first) * width]
                merged.first = min(merged.first, block.first)
                merged.rows += gap + block.rows
                reached = max(first, block_end)
        merged.rows += rows[(reached - first) * width :]
        self.blocks = [*before, merged, *after]
        return merged

    def trim(self, needed: int, width: int) -> None:
        """Drop readings before a slot."""
        self.needed = needed
        kept = []
        for block in self.blocks:
            passed = (needed - block.first) * width
            if passed > 0:
                block.first, block.rows = needed, block.rows[passed:]
            if block.rows:
                kept.append(block)
        self.blocks = kept


def slot(elapsed_ms: int, period_ms: float) -> int:
    """Elapsed event time in sampling periods, rounded, so that windows share one grid.

    >>> [slot(ms, 1000 / 60) for ms in (0, 17, 33, 50)]
    [0, 1, 2, 3]
    """
    return round(elapsed_ms / period_ms)
