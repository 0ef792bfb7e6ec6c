"""Which windows run together: by version, padded to a few warmed sizes.

A network runs on fixed batch sizes only, so that nothing is traced while it serves.

>>> [plan(n) for n in (1, 9, 520)]
[[(0, 1, 8)], [(0, 9, 64)], [(0, 512, 512), (512, 520, 8)]]
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final, NamedTuple

from millrace.contracts.events.normalized_window import NormalizedWindow

#: Batch sizes that every network is warmed for. A window alone costs as much on 8 as on 1.
SIZES: Final = (8, 64, 512)


class Stamp(NamedTuple):
    """The version that a window must run on."""

    model: str
    version: int
    epoch: int


def by_stamp(windows: Iterable[NormalizedWindow]) -> dict[Stamp, list[int]]:
    """Group windows by stamp.

    Returns:
        The places of each stamp's windows, in their order.
    """
    groups: dict[tuple[str, int, int], list[int]] = {}
    for place, window in enumerate(windows):
        stamp = (window.model, window.version, window.epoch)
        if stamp in groups:
            groups[stamp].append(place)
        else:
            groups[stamp] = [place]
    return {Stamp(*stamp): places for stamp, places in groups.items()}


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
