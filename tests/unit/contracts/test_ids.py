"""Ids are the same on every machine and for ever, and differ where facts differ."""

from hypothesis import given
from hypothesis import strategies as st

from millrace.contracts.ids import derived_id, window_id, window_ids
from millrace.contracts.model_spec import sensor_set_id

NAMES = st.text(alphabet="abcXYZ-_.0189", max_size=6)


def test_ids_are_pinned() -> None:
    """A changed id would break every join with what was recorded before."""
    assert window_id("WELL-00002", "9c1f", 1_486_641_600_000, "") == "w-784bdde838944076e7d21952"
    assert derived_id("p", "sensor.windows", 3, 41) == "p-1acf51e7503dd320fa727df9"
    assert sensor_set_id(("flow", "vibration"), 60.0, 32) == "f8bbae39a019"


MEASURED = st.tuples(NAMES, NAMES, st.integers(), NAMES)


@given(MEASURED, MEASURED)
def test_ids_differ_as_windows_do(
    one: tuple[str, str, int, str], other: tuple[str, str, int, str]
) -> None:
    """Two windows have the same id exactly if they are the same measurement."""
    assert (window_id(*one) == window_id(*other)) == (one == other)


@given(st.lists(st.tuples(st.sampled_from("abc"), st.integers(), NAMES), max_size=9))
def test_windows_are_named_together_as_alone(windows: list[tuple[str, int, str]]) -> None:
    """The ids of a batch are those of its windows, in their order."""
    alone = [window_id(asset, "9c1f", start, segment) for asset, start, segment in windows]
    assets, starts = [asset for asset, _, _ in windows], [start for _, start, _ in windows]
    assert window_ids(assets, "9c1f", starts, [segment for *_, segment in windows]) == alone


def test_sensor_set_depends_on_order_period_and_length() -> None:
    """A model reads columns in order, at one period, in windows of one length."""
    sets = {
        sensor_set_id(("a", "b"), 1.0, 8),
        sensor_set_id(("b", "a"), 1.0, 8),
        sensor_set_id(("a", "b"), 2.0, 8),
        sensor_set_id(("a", "b"), 1.0, 9),
    }
    assert len(sets) == 4
