"""Which windows run together: by version, padded to a few warmed sizes.

A network runs on fixed batch sizes only, so that nothing is traced while it serves.

>>> [plan(n) for n in (1, 9, 130)]
[[(0, 1, 1)], [(0, 9, 32)], [(0, 128, 128), (128, 130, 8)]]
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from contracts.normalized_window import NormalizedWindow

#: Batch sizes that every network is warmed for.
SIZES: Final = (1, 8, 32, 128)


@dataclass(frozen=True)
class Stamp:
    """The version that a window must run on."""

    model: str
    version: int
    epoch: int


def by_stamp(windows: Iterable[NormalizedWindow]) -> dict[Stamp, list[NormalizedWindow]]:
    """Group windows by stamp; each group keeps their order."""
    groups: dict[Stamp, list[NormalizedWindow]] = {}
    for window in windows:
        stamp = Stamp(window.model, window.version, window.epoch)
        groups.setdefault(stamp, []).append(window)
    return groups


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
