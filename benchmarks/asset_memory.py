"""What an asset costs in memory, counted by Python's own allocator: no noise, no server.

The stream processor's real memory of an asset takes windows and their predictions, as it does
behind an inference that keeps up. With ``answered=False`` nobody predicts, as during an outage
of inference: forecasts stay open, with their truths.
"""

from __future__ import annotations

import gc
import tracemalloc
from dataclasses import dataclass

import numpy as np

from benchmarks.windows import Load
from millrace.contracts.clock import event_time, now
from millrace.contracts.events.prediction import Prediction
from millrace.contracts.events.window import SensorWindow
from millrace.contracts.model_spec import ModelSpec
from millrace.contracts.source import Source
from millrace.contracts.topics import SENSOR_WINDOWS
from millrace.drift.selection import detectors
from millrace.stream_processors.outcomes.forecasts import Truths
from millrace.stream_processors.outcomes.join_task import join_task
from millrace.stream_processors.state.asset import Asset
from millrace.stream_processors.state.recent_windows import checksums

_TESTS = detectors(inputs="PageHinkley", error="PageHinkley", skill="PageHinkley")


@dataclass(frozen=True)
class AssetMemory:
    """What one asset costs.

    Attributes:
        live: Bytes in the process.
        snapshot: Bytes of its snapshot.
    """

    live: float
    snapshot: float


def asset_memory(assets: int, windows: int, *, answered: bool) -> AssetMemory:
    """Let assets take windows, and weigh them.

    Args:
        assets: Number of assets; the figures are means over them.
        windows: Windows of each.
        answered: Whether each window is predicted before the next one comes.
    """
    _filled(1, windows, answered=answered)  # what is made once, for all assets, is there then
    gc.collect()
    tracemalloc.start()
    try:
        before, _ = tracemalloc.get_traced_memory()
        memories = _filled(assets, windows, answered=answered)
        gc.collect()
        after, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    snapshots = sum(len(asset.snapshot()) for asset in memories)
    return AssetMemory((after - before) / assets, snapshots / assets)


def _filled(assets: int, windows: int, *, answered: bool) -> list[Asset]:
    load = Load(assets=assets)
    memories = [Asset() for _ in range(assets)]
    for offset, window in enumerate(load.windows(assets * windows)):
        _take(memories[offset % assets], window, offset, load.spec, answered=answered)
    return memories


def _take(
    asset: Asset, window: SensorWindow, offset: int, spec: ModelSpec, *, answered: bool
) -> None:
    end_ms = window.start_ms + spec.period_ms * spec.window
    asset.windows_through = offset
    asset.recent.see(window.start_ms, window.segment, *checksums([window.values.tobytes()]))
    asset.monitor.reference(1)
    means = [float(mean) for mean in window.values.mean(axis=0)]
    asset.monitor.inputs(spec.sensors, means, end_ms, _TESTS)
    truths = Truths(join_task(spec))
    (rows,) = truths.task.rows(window.values[np.newaxis])
    asset.forecasts.add_window(rows, window.start_ms, end_ms, "", offset, truths)
    truths.make()
    if answered:
        asset.forecasts.add_prediction(_prediction(window, offset, end_ms, spec), offset)
    for joined in asset.forecasts.take_resolved():
        asset.monitor.outcome(joined.answer.epoch, joined.answer.version, 1.0, 0.0, end_ms, _TESTS)


def _prediction(window: SensorWindow, offset: int, end_ms: int, spec: ModelSpec) -> Prediction:
    width = len(spec.sensors)
    last = [float(value) for value in window.values[-1]]
    return Prediction(
        id=f"p-{offset}",
        asset=window.asset,
        model=spec.name,
        version=1,
        stamped_version=1,
        epoch=2,
        artefact_digest="0" * 64,
        normaliser_digest="0" * 64,
        window_id=f"w-{offset}",
        source=Source(SENSOR_WINDOWS.name, 0, offset, end_ms),
        interval_start=event_time(end_ms),
        interval_end=event_time(end_ms + spec.period_ms * spec.horizon),
        targets=spec.sensors,
        present=(True,) * width,
        forecast=np.tile(last, (spec.horizon, 1)).tolist(),
        persistence=[*last],
        predicted_at=now(),
        latency_ms=1.0,
    )
