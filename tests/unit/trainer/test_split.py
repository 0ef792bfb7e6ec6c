"""The three sets share no sample, and the hold-out is each asset's most recent stretch."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from millrace.trainer.data.split import Int64, Split, SplitSettings, split

SPAN, STRIDE = 48, 6


def times(counts: dict[str, int]) -> tuple[np.ndarray, Int64, Int64]:
    """Overlapping windows of some assets, by the end of their truth."""
    start = np.concatenate([np.arange(count) * STRIDE for count in counts.values()])
    asset = np.repeat(list(counts), list(counts.values()))
    order = np.argsort(start, kind="stable")
    start = start[order].astype(np.int64)
    return asset[order], start, start + SPAN


def sets(found: Split) -> list[np.ndarray]:
    """The three sets of rows."""
    return [found.train, found.validation, found.holdout]


@given(st.integers(1, 400), st.integers(0, 400), st.none() | st.integers(0, 2_400))
def test_no_two_sets_share_a_sample(one: int, two: int, since: int | None) -> None:
    """Within an asset, no window or truth of one set overlaps any of another."""
    asset, start, until = times({"A": one, "B": two})
    found = split(asset, start, until, SplitSettings(), since)
    for i, left in enumerate(sets(found)):
        for right in sets(found)[i + 1 :]:
            same = asset[left][:, None] == asset[right][None, :]
            overlap = (start[left][:, None] < until[right][None, :]) & (
                start[right][None, :] < until[left][:, None]
            )
            assert not (same & overlap).any()


def test_every_asset_is_judged_by_its_most_recent_windows() -> None:
    """The hold-out is the tail of each asset, of the share that was asked for."""
    asset, start, until = times({"A": 400, "B": 200})
    found = split(asset, start, until, SplitSettings(holdout=0.15))
    for name, size in (("A", 60), ("B", 30)):
        rows = np.flatnonzero(asset == name)
        held = found.holdout[asset[found.holdout] == name]
        assert held.tolist() == rows[-size:].tolist()


def test_a_drift_leaves_most_of_the_new_windows_to_learn_from() -> None:
    """Of 50 windows since the drift, 20 judge and 30, less the embargo, teach."""
    asset, start, until = times({"A": 500})
    since = int(start[450])
    found = split(asset, start, until, SplitSettings(holdout_of_new=0.4), since)
    assert len(found.holdout) == 20
    taught = np.union1d(found.train, found.validation)
    assert (start[taught] >= since).sum() == 30 - (SPAN // STRIDE - 1)


def test_validation_is_spread_over_the_history() -> None:
    """Each fifth of the history has validation windows."""
    asset, start, until = times({"A": 1_000})
    found = split(asset, start, until, SplitSettings())
    last = found.train.max()
    fifths = np.bincount(found.validation * 5 // (last + 1), minlength=5)
    assert (fifths[:5] > 0).all()
    assert 0.1 < len(found.validation) / len(found.train) < 0.25


def test_a_handful_of_windows_still_leaves_something_to_learn_from() -> None:
    """Nine windows far apart are divided, the hold-out taking no more than a third."""
    start = np.arange(9, dtype=np.int64) * 100
    found = split(np.array(["A"] * 9), start, start + SPAN, SplitSettings())
    assert len(found.holdout) == 3
    assert len(found.train) > 0
