"""Windows are cut by the rule: full ones only, never across a gap or a segment."""

from datetime import UTC, datetime

import numpy as np
import numpy.typing as npt
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from millrace.contracts.model_spec import ModelSpec
from millrace.producers.windows import LiveWindows, between, runs, windows

PERIOD_MS = 60_000


def spec(window: int, stride: int) -> ModelSpec:
    """A task on two sensors, one sample a minute."""
    return ModelSpec("plant", ("a", "b"), 60.0, window, 2, stride)


def frame(times_ms: list[int], asset: str = "one", segment: str = "") -> pd.DataFrame:
    """Readings at the given times; the first sensor counts them, to tell them apart."""
    made = pd.DataFrame({"time": pd.to_datetime(times_ms, unit="ms", utc=True).as_unit("ms")})
    made["asset"], made["segment"] = asset, segment
    made["a"] = np.arange(len(times_ms), dtype=np.float32)
    made["b"] = np.float32(np.nan)
    return made


@st.composite
def stretches(draw: st.DrawFn) -> pd.DataFrame:
    """Draw readings of a few assets and segments, with jitter, gaps and bursts."""
    parts = []
    for asset in draw(st.lists(st.sampled_from("xyz"), min_size=1, max_size=3, unique=True)):
        start = draw(st.integers(0, 10**12))
        for segment in draw(st.lists(st.sampled_from(["", "s", "t"]), min_size=1, unique=True)):
            steps = st.one_of(
                st.just(PERIOD_MS),
                st.integers(PERIOD_MS - 9_000, PERIOD_MS + 9_000),
                st.integers(1, 5 * PERIOD_MS),
            )
            times = np.cumsum([start, *draw(st.lists(steps, max_size=25))]).tolist()
            parts.append(frame(times, asset, segment))
            start = times[-1] + draw(st.integers(1, PERIOD_MS))
    return pd.concat(parts).sort_values(["time", "asset"], kind="stable", ignore_index=True)


@settings(max_examples=40, deadline=None)
@given(stretches(), st.integers(1, 8), st.integers(1, 8))
def test_windows_never_cross_a_gap_or_a_segment(
    readings: pd.DataFrame, window: int, stride: int
) -> None:
    """Every window is consecutive readings of one asset and segment, on its grid."""
    for found in windows(readings, spec(window, stride)):
        own = readings[(readings["asset"] == found.asset) & (readings["segment"] == found.segment)]
        first = int(found.values[0, 0])
        assert found.values[:, 0].tolist() == list(range(first, first + window))
        times = own["time"].astype("int64").to_numpy()[first : first + window]
        grid = found.start_ms + np.arange(window) * PERIOD_MS
        assert (np.abs(times - grid) <= 0.5 * PERIOD_MS).all()
        assert (np.diff(times) <= 1.5 * PERIOD_MS).all()


@settings(max_examples=40, deadline=None)
@given(stretches(), st.integers(1, 8), st.integers(1, 8))
def test_windows_come_when_they_are_due(readings: pd.DataFrame, window: int, stride: int) -> None:
    """Windows are ordered by their end over all assets, and so per asset by their start."""
    found = windows(readings, spec(window, stride))
    ends = [(w.end_ms, w.asset, w.segment) for w in found]
    assert ends == sorted(ends)


@settings(max_examples=40, deadline=None)
@given(stretches(), st.integers(1, 8), st.integers(1, 8))
def test_live_windows_are_the_same(readings: pd.DataFrame, window: int, stride: int) -> None:
    """Reading by reading, the rule gives the windows that it gives for a whole table."""
    task = spec(window, stride)
    for (asset, _), own in readings.groupby(["asset", "segment"]):
        live = LiveWindows(str(asset), task)
        times = own["time"].astype("int64").to_numpy()
        values = own[["a", "b"]].to_numpy()
        found = [live.add(int(t), v) for t, v in zip(times, values, strict=True)]
        one_by_one = [(w.start_ms, w.values[:, 0].tolist()) for w in found if w is not None]
        at_once = [(w.start_ms, w.values[:, 0].tolist()) for w in windows(own, task)]
        assert sorted(one_by_one) == sorted(at_once)


def test_a_run_yields_every_full_window() -> None:
    """Ten samples hold three windows of four, three apart, from the first sample on."""
    found = windows(frame([i * PERIOD_MS for i in range(10)]), spec(4, 3))
    assert [w.start_ms // PERIOD_MS for w in found] == [0, 3, 6]


def test_a_gap_starts_the_count_anew() -> None:
    """After a gap windows start at the first sample behind it, wherever the stride was."""
    minutes = [0, 1, 2, 3, 4, 7, 8, 9, 10]
    found = windows(frame([m * PERIOD_MS for m in minutes]), spec(3, 2))
    assert [w.start_ms // PERIOD_MS for w in found] == [0, 2, 7]


@pytest.mark.parametrize(("spacing", "expected"), [(1.5, 1), (1.51, 2), (0.49, 2), (1.0, 1)])
def test_limits_of_spacing(spacing: float, expected: int) -> None:
    """One and a half periods are no gap yet; less than half a period is none either."""
    times = np.array([0, round(spacing * PERIOD_MS)])
    assert len(runs(times, PERIOD_MS)) == expected


def test_a_slow_clock_does_not_stretch_a_window() -> None:
    """Samples that slip off the grid little by little end the run within half a period."""
    times: npt.NDArray[np.int64] = np.arange(100) * round(1.1 * PERIOD_MS)
    assert [run.stop - run.start for run in runs(times, PERIOD_MS)][:2] == [6, 6]


def test_consecutive_stretches_share_nothing_and_lack_nothing() -> None:
    """Cut at any moment, the windows before and after it are all the windows."""
    found = windows(frame([i * PERIOD_MS for i in range(30)]), spec(4, 3))
    for minute in range(31):
        cut = datetime.fromtimestamp(minute * 60, UTC)
        assert [*between(found, None, cut), *between(found, cut, None)] == found
