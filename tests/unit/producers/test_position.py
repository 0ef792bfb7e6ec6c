"""A recording goes on after the last window that was taken from it."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from millrace.contracts.events.window import SensorWindow
from millrace.producers.sources.position import after, order_of, position_of

WINDOWS = st.builds(
    SensorWindow,
    asset=st.sampled_from(["a", "b", "ü"]),
    sensors=st.just(("x",)),
    start_ms=st.integers(0, 20).map(lambda second: second * 1_000),
    period_seconds=st.just(1.0),
    values=st.just(np.zeros((2, 1), np.float32)),
    segment=st.sampled_from(["", "s"]),
)


@given(st.lists(WINDOWS, unique_by=order_of, min_size=1), st.data())
def test_nothing_is_taken_twice_or_left_out(found: list[SensorWindow], data: st.DataObject) -> None:
    """Wherever a run ended, the next one begins with the window after it."""
    found.sort(key=order_of)
    taken = data.draw(st.integers(1, len(found)))
    rest = after(position_of(found[taken - 1]), found)
    assert [order_of(w) for w in rest] == [order_of(w) for w in found[taken:]]
    assert after(None, found) is found


def test_a_recording_that_has_grown_goes_on_at_its_place() -> None:
    """Windows that were added later than the place are sent, those before it not."""
    values = np.zeros((1, 1), np.float32)
    found = [SensorWindow("a", ("x",), ms, 1.0, values) for ms in (0, 1_000, 2_000, 3_000)]
    rest = after(position_of(found[1]), [found[0], *found[2:]])
    assert [window.start_ms for window in rest] == [2_000, 3_000]
