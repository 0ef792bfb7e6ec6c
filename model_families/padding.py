"""Batches padded to a few warmed sizes, so that nothing is traced while a network serves.

>>> [plan(n) for n in (1, 9, 520)]
[[(0, 1, 8)], [(0, 9, 64)], [(0, 512, 512), (512, 520, 8)]]
"""

from __future__ import annotations

from typing import Final

#: Batch sizes that every network is warmed for. A window alone costs as much on 8 as on 1.
SIZES: Final = (8, 64, 512)


def plan(count: int) -> list[tuple[int, int, int]]:
    """Cut a group into runs of the network.

    Args:
        count: Windows in the group.

    Returns:
        (start, stop, padded size) of each run.
    """
    runs = []
    start = 0
    while start < count:
        stop = min(start + SIZES[-1], count)
        size = next(s for s in SIZES if s >= stop - start)
        runs.append((start, stop, size))
        start = stop
    return runs
