"""Splits a dataset by time into training, validation and hold-out rows.

```
each asset:  ───train───┤val├───train───┤val├───train───┤ embargo ├──── hold-out ────►
```

The hold-out is each asset's most recent stretch, so that every asset is evaluated, including one
that has been silent for a month. The validation rows are spread over the history in blocks, because
a single recent stretch would make early stopping depend on one season. Between any two of the three
there is an embargo: no sample, of a window or of its truth, is in two of them.
"""

from dataclasses import dataclass
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt

Rows = npt.NDArray[np.intp]
Int64 = npt.NDArray[np.int64]


class SplitSettings(msgspec.Struct, frozen=True):
    """Parameters of the split.

    Attributes:
        holdout: Share of an asset's windows in the hold-out.
        min_holdout: Fewest hold-out windows of an asset; an asset with less than three times as
            many windows gives a third of them.
        max_holdout: Most hold-out windows of an asset.
        holdout_of_new: Largest share of an asset's windows since a drift in the hold-out, so that
            enough of them are left for training.
        validation: Share of the other windows used for validation.
        blocks: Number of validation blocks per asset.
    """

    holdout: float = 0.15
    min_holdout: int = 30
    max_holdout: int = 120
    holdout_of_new: float = 0.4
    validation: float = 0.15
    blocks: int = 5


@dataclass(frozen=True, eq=False)
class Split:
    """Rows of a dataset, ascending; rows in an embargo are in none.

    Attributes:
        train: Training rows.
        validation: Rows for early stopping.
        holdout: Rows for the gate.
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
        settings: Parameters of the split.
        since_ms: Event time of the drift that triggered the run; None for other triggers.
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
    """Select the rows whose time does not overlap with any of the others."""
    if not len(others):
        return np.ones(len(rows), dtype=np.bool_)
    order: npt.NDArray[Any] = others[np.argsort(start_ms[others], kind="stable")]
    ends = np.maximum.accumulate(until_ms[order])
    before = np.searchsorted(start_ms[order], until_ms[rows], side="left") - 1
    apart: npt.NDArray[np.bool_] = (before < 0) | (ends[np.maximum(before, 0)] <= start_ms[rows])
    return apart
