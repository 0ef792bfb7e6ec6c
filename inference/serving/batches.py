"""Groups windows by stamp; those of one stamp run together."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from millrace.contracts.events.normalized_window import NormalizedWindow


class Stamp(NamedTuple):
    """The version that a window must run on."""

    model: str
    version: int
    epoch: int


def by_stamp(windows: Iterable[NormalizedWindow]) -> dict[Stamp, list[int]]:
    """Group windows by stamp.

    Returns:
        The indices of each stamp's windows, in order.
    """
    groups: dict[tuple[str, int, int], list[int]] = {}
    for place, window in enumerate(windows):
        stamp = (window.model, window.version, window.epoch)
        if stamp in groups:
            groups[stamp].append(place)
        else:
            groups[stamp] = [place]
    return {Stamp(*stamp): places for stamp, places in groups.items()}
