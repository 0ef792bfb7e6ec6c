"""Which windows a source must yield."""

from __future__ import annotations

import numpy as np
import pandas as pd

from millrace.contracts.clock import to_ms
from millrace.verification.source_windows import source_windows
from tests.unit.console.made import SPEC, START, frame


def minutes(table: pd.DataFrame) -> list[int]:
    """Starts of a table's windows, in minutes of the story."""
    return [(w.start_ms - to_ms(START)) // 60_000 for w in source_windows(table, SPEC)]


def test_full_windows_start_every_stride() -> None:
    """Nine samples hold windows of four at 0, 2 and 4, and no half one."""
    assert minutes(frame(9)) == [0, 2, 4]


def test_no_window_crosses_a_gap() -> None:
    """A missing sample ends the run, and the next run has its own first window."""
    table = pd.concat([frame(5), frame(6, begin=6)], ignore_index=True)
    assert minutes(table) == [0, 6, 8]


def test_no_window_crosses_a_segment() -> None:
    """Segments are cut apart even where their samples follow without a gap."""
    table = pd.concat([frame(5, segment="a"), frame(5, segment="b", begin=5)], ignore_index=True)
    assert minutes(table) == [0, 5]


def test_the_first_of_repeated_times_counts() -> None:
    """A repeated minute neither ends the run nor replaces the first reading."""
    table = frame(6)
    again = table.iloc[[2]].assign(level=np.float32(99))
    doubled = pd.concat([table, again]).sort_values("time", kind="stable", ignore_index=True)
    assert minutes(doubled) == [0, 2]
    assert source_windows(doubled, SPEC)[0].values[:, 0].tolist() == [0, 1, 2, 3]


def test_truth_is_what_follows_in_the_same_run() -> None:
    """The horizon after a window is its truth; at the end of a run there is none."""
    windows = source_windows(frame(8), SPEC)
    truths = [None if w.truth is None else w.truth[:, 0].tolist() for w in windows]
    assert truths == [[4, 5], [6, 7], None]


def test_assets_are_cut_apart_and_come_by_time() -> None:
    """Windows of all assets are merged by the time at which they are complete."""
    table = pd.concat([frame(6, asset="b"), frame(4, asset="a")], ignore_index=True)
    assert [(w.asset, w.start_ms) for w in source_windows(table, SPEC)] == [
        ("a", to_ms(START)),
        ("b", to_ms(START)),
        ("b", to_ms(START) + 120_000),
    ]
