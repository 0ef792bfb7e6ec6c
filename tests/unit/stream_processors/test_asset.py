"""An asset's memory: what it recognises, and that its snapshot is all of it."""

from millrace.stream_processors.state.asset import Asset
from millrace.stream_processors.state.recent_windows import Repeat
from tests.builders import DETECTORS, START_MS, prediction_of, pump_spec, pump_window
from tests.unit.stream_processors.test_forecasts import add_window


def test_a_snapshot_is_the_whole_memory() -> None:
    """What is restored is equal in every part, and has the same snapshot again."""
    asset = Asset()
    asset.windows_through, asset.predictions_through = 7, 5
    for offset in range(4):
        window = pump_window(3 * offset, segment="run-1")
        asset.recent.see(window.start_ms, window.segment, 1)
        add_window(asset.forecasts, window, offset, pump_spec())
        asset.monitor.reference(1)
        asset.monitor.inputs(("flow", "pressure"), [0.1 * offset, None], window.end_ms, DETECTORS)
        asset.monitor.outcome(2, 1, 0.2, -0.1, window.end_ms, DETECTORS)
    asset.forecasts.add_prediction(prediction_of(window, 3), 3)
    asset.forecasts.add_prediction(prediction_of(window, 9), 3)
    restored = Asset.restore(asset.snapshot())
    assert (restored.windows_through, restored.predictions_through) == (7, 5)
    assert restored.forecasts == asset.forecasts
    assert restored.monitor.state() == asset.monitor.state()
    assert restored.snapshot() == asset.snapshot()
    assert restored.recent.see(START_MS, "run-1", 1) is Repeat.SAME
