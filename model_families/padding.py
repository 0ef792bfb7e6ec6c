"""Pads batches to a few warmed sizes, so that nothing is traced while a network serves.

>>> [plan(n) for n in (1, 129, 520)]
[[(0, 1, 128)], [(0, 129, 512)], [(0, 512, 512), (512, 520, 128)]]
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

#: Batch sizes that every network is warmed for, ascending. Below about 96 rows XLA multiplies
#: matrices in another order than above, and a forecast must not depend on what shares its batch.
SIZES: Final = (128, 512)


def plan(count: int, sizes: Sequence[int] = SIZES) -> list[tuple[int, int, int]]:
    """Cut a group into runs of the network.

    Args:
        count: Windows in the group.
        sizes: Batch sizes, ascending.

    Returns:
        (start, stop, padded size) of each run.
    """
    runs = []
    start = 0
    while start < count:
        stop = min(start + sizes[-1], count)
        size = next(s for s in sizes if s >= stop - start)
        runs.append((start, stop, size))
        start = stop
    return runs
