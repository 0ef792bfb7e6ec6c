"""Windows that were seen lately: by start and segment, and whether their readings changed."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from millrace.stream_processors.state.recent_windows import (
    RECENT,
    UNKNOWN,
    RecentSnapshot,
    RecentWindows,
    Repeat,
    checksums,
)

WINDOWS = st.lists(
    st.tuples(st.integers(0, 150), st.sampled_from(["", "a", "b"]), st.integers(1, 2)),
    max_size=400,
)


@given(WINDOWS)
def test_latest_windows_are_recognised(windows: list[tuple[int, str, int]]) -> None:
    """A window is new once for each start and segment, in whatever order they come."""
    recent = RecentWindows()
    known: dict[tuple[int, str], int] = {}
    for start, segment, readings in windows:
        sight = recent.see(start, segment, readings)
        first = known.setdefault((start, segment), readings)
        if sight is None:
            assert len(known) > RECENT or first == readings
        else:
            assert sight is (Repeat.SAME if first == readings else Repeat.CHANGED)
        recent = RecentWindows.restore(recent.snapshot())
        if len(known) >= RECENT:
            return


@pytest.mark.parametrize("seed", range(4))
def test_what_is_remembered_is_the_latest_windows_however_they_came(seed: int) -> None:
    """As a sorted list of the latest ones would say, before and after a restart at any point."""
    rng = np.random.default_rng(seed)
    recent = RecentWindows()
    latest: list[tuple[int, int]] = []
    for number in range(5 * RECENT):
        start = number - int(rng.integers(0, 2 * RECENT)) * int(rng.random() < 0.3)
        readings = int(rng.integers(1, 3))
        known = [kept for at, kept in latest if at == start]
        expected = None
        if known:
            expected = Repeat.SAME if known[0] == readings else Repeat.CHANGED
        assert recent.see(start, "", readings) is expected
        if expected is None:
            latest = sorted([*latest, (start, readings)], key=lambda kept: kept[0])[-RECENT:]
        if rng.random() < 0.05:
            recent = RecentWindows.restore(recent.snapshot())
    starts = np.frombuffer(recent.snapshot().starts, np.int64)
    assert starts.tolist() == [start for start, _ in latest]


def test_windows_are_bounded() -> None:
    """An asset that runs for long does not remember all of its windows."""
    recent = RecentWindows()
    for start in range(3 * RECENT):
        assert recent.see(start, "", 1) is None
    assert recent.see(2 * RECENT, "", 1) is Repeat.SAME
    assert recent.see(2 * RECENT - 1, "", 1) is None


def test_a_snapshot_without_readings_knows_no_change() -> None:
    """Memory of an older version has only starts: whatever has one of them is a repetition."""
    recent = RecentWindows()
    recent.see(7, "", 1)
    older = RecentWindows.restore(RecentSnapshot(recent.snapshot().starts, b"", b""))
    assert older.see(7, "", 2) is Repeat.SAME


def test_checksums_are_never_that_of_unknown_readings() -> None:
    """Readings whose CRC is 0 are known all the same."""
    assert UNKNOWN not in checksums([b"", b"x"])
