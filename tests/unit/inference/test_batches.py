"""Which windows run together, and on what sizes."""

from hypothesis import given
from hypothesis import strategies as st

from millrace.inference.serving.batches import Stamp, by_stamp
from millrace.model_families.padding import SIZES, plan
from tests.builders import pump_window, stamped_window


@given(st.integers(0, 2000))
def test_a_plan_runs_each_window_once_on_warmed_sizes(count: int) -> None:
    """Runs follow one another without gap or overlap, and each fits its size."""
    runs = plan(count)
    assert [start for start, _, _ in runs] == [0, *(stop for _, stop, _ in runs)][: len(runs)]
    assert (runs[-1][1] if runs else 0) == count
    assert all(size in SIZES and 0 < stop - start <= size for start, stop, size in runs)


@given(st.integers(1, 2000))
def test_a_plan_pads_as_little_as_the_sizes_allow(count: int) -> None:
    """No run is on a larger size than it needs."""
    for start, stop, size in plan(count):
        assert all(smaller < stop - start for smaller in SIZES if smaller < size)


@given(st.lists(st.tuples(st.sampled_from(["pump", "fan"]), st.integers(0, 2), st.integers(1, 3))))
def test_groups_hold_one_stamp_and_keep_the_order(stamps: list[tuple[str, int, int]]) -> None:
    """Every window is in the group of its stamp, once, in the order in which it came."""
    windows = [
        stamped_window(pump_window(0), offset, model=model, version=version, epoch=epoch)
        for offset, (model, version, epoch) in enumerate(stamps)
    ]
    groups = by_stamp(windows)
    assert sorted(place for places in groups.values() for place in places) == list(
        range(len(windows))
    )
    for stamp, places in groups.items():
        found = {Stamp(windows[p].model, windows[p].version, windows[p].epoch) for p in places}
        assert found == {stamp}
        assert places == sorted(places)
