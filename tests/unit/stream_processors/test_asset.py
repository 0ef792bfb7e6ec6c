"""An asset's memory: what it recognises, and that its snapshot is all of it."""

from hypothesis import given
from hypothesis import strategies as st

from stream_processors.asset import RECENT_STARTS, Asset
from tests.builders import START_MS, prediction_of, pump_spec, pump_window
from tests.unit.stream_processors.test_forecasts import add_window


def test_a_snapshot_is_the_whole_memory() -> None:
    """What is restored is equal in every part, and has the same snapshot again."""
    asset = Asset()
    asset.windows_through, asset.predictions_through = 7, 5
    for offset in range(4):
        window = pump_window(3 * offset, segment="run-1")
        asset.remember(window.start_ms)
        add_window(asset.forecasts, window, offset, pump_spec())
        asset.monitor.reference(1)
        asset.monitor.inputs(("flow", "pressure"), [0.1 * offset, None], window.end_ms)
        asset.monitor.outcome(2, 1, 0.2, -0.1, window.end_ms)
    asset.forecasts.add_prediction(prediction_of(window, 3), 3)
    asset.forecasts.add_prediction(prediction_of(window, 9), 3)
    restored = Asset.restore(asset.snapshot())
    assert (restored.windows_through, restored.predictions_through) == (7, 5)
    assert restored.forecasts == asset.forecasts
    assert restored.monitor.state() == asset.monitor.state()
    assert restored.snapshot() == asset.snapshot()
    assert not restored.remember(START_MS)


@given(st.lists(st.integers(0, 400), max_size=400))
def test_latest_starts_are_recognised(starts: list[int]) -> None:
    """The latest starts are known, in whatever order they came, and no others are."""
    asset = Asset()
    remembered: set[int] = set()
    for start in starts:
        assert asset.remember(start) == (start not in remembered)
        if start not in remembered:
            remembered = set(sorted({*remembered, start})[-RECENT_STARTS:])


def test_starts_are_bounded() -> None:
    """An asset that runs for long does not remember all of its windows."""
    asset = Asset()
    for start in range(3 * RECENT_STARTS):
        asset.remember(start)
    assert not asset.remember(2 * RECENT_STARTS)
    assert asset.remember(2 * RECENT_STARTS - 1)
