"""Who learns, who stops, who judges: windows' times in, three sets of rows out.

```
each asset:  ───train───┤val├───train───┤val├───train───┤ embargo ├──── hold-out ────►
```

The hold-out is each asset's most recent stretch, so that every asset is judged, one that has
been silent for a month as well. The validation stretch is spread over the history in blocks,
because a single recent stretch stops the fit for one season's sake. Between any two of the
three there is an embargo: no sample, of a window or of its truth, is in two of them.
"""

from dataclasses import dataclass
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt

Rows = npt.NDArray[np.intp]
Int64 = npt.NDArray[np.int64]


class SplitSettings(msgspec.Struct, frozen=True):
    """How to divide.

    Attributes:
        holdout: Share of an asset's windows that judge.
        min_holdout: Fewest windows of an asset that judge; one that has not got three times
            as many judges with a third of what it has.
        max_holdout: Most windows of an asset that judge.
        holdout_of_new: Most of an asset's windows since a drift that judge, so that enough of
            the new are left to learn from.
        validation: Share of the other windows that validates.
        blocks: Number of blocks that the validation stretch consists of, per asset.
    """

    holdout: float = 0.15
    min_holdout: int = 30
    max_holdout: int = 120
    holdout_of_new: float = 0.4
    validation: float = 0.15
    blocks: int = 5


@dataclass(frozen=True, eq=False)
class Split:
    """Rows of a dataset, ascending; those in the embargo are in none.

    Attributes:
        train: Rows to learn from.
        validation: Rows that say when to stop.
        holdout: Rows that judge.
    """

    train: Rows
    validation: Rows
    holdout: Rows


def split(
    asset: npt.NDArray[np.str_],
    start_ms: Int64,
    until_ms: Int64,
    settings: SplitSettings,
    since_ms: int | None = None,
) -> Split:
    """Divide windows.

    Args:
        asset: Asset of each window.
        start_ms: Event time of its first sample.
        until_ms: Event time at which its truth is complete, ascending.
        settings: How to divide.
        since_ms: Event time of the drift that asked for the run; None if none did.
    """
    parts: list[tuple[Rows, Rows, Rows]] = []
    for name in np.unique(asset):
        rows = np.flatnonzero(asset == name)
        size = _holdout_size(start_ms[rows], settings, since_ms)
        holdout, rest = rows[len(rows) - size :], rows[: len(rows) - size]
        rest = rest[_apart(rest, holdout, start_ms, until_ms)]
        validation = rest[_in_block(len(rest), settings)]
        train = rest[~_in_block(len(rest), settings)]
        train = train[_apart(train, validation, start_ms, until_ms)]
        parts.append((train, validation, holdout))
    return Split(*(np.sort(np.concatenate(rows)) for rows in zip(*parts, strict=True)))


def _holdout_size(start_ms: Int64, settings: SplitSettings, since_ms: int | None) -> int:
    count = len(start_ms)
    size = min(max(round(settings.holdout * count), settings.min_holdout), settings.max_holdout)
    if since_ms is not None:
        fresh = int((start_ms >= since_ms).sum())
        if fresh:
            size = min(size, max(1, round(settings.holdout_of_new * fresh)))
    return min(size, count // 3)


def _in_block(count: int, settings: SplitSettings) -> npt.NDArray[np.bool_]:
    """Choose evenly spaced blocks."""
    position = np.arange(count) * settings.blocks / max(count, 1) % 1
    chosen: npt.NDArray[np.bool_] = np.abs(position - 0.5) < settings.validation / 2
    return chosen


def _apart(rows: Rows, others: Rows, start_ms: Int64, until_ms: Int64) -> npt.NDArray[np.bool_]:
    """Say which rows share no time with any of the others."""
    if not len(others):
        return np.ones(len(rows), dtype=np.bool_)
    order: npt.NDArray[Any] = others[np.argsort(start_ms[others], kind="stable")]
    ends = np.maximum.accumulate(until_ms[order])
    before = np.searchsorted(start_ms[order], until_ms[rows], side="left") - 1
    apart: npt.NDArray[np.bool_] = (before < 0) | (ends[np.maximum(before, 0)] <= start_ms[rows])
    return apart
