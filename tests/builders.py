"""What tests are made of: one small pump model, its windows, its events and its records.

Readings are a function of the sensor and the moment alone, so windows that overlap agree.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Literal

import msgspec
import numpy as np
import numpy.typing as npt

from millrace.contracts.clock import event_time
from millrace.contracts.events.event import MSGPACK
from millrace.contracts.events.model_event import (
    Activated,
    Approved,
    Artefact,
    ModelEvent,
    Registered,
    RolledBack,
)
from millrace.contracts.events.normalized_window import NormalizedWindow
from millrace.contracts.events.prediction import Prediction
from millrace.contracts.events.window import SensorWindow, encode_window
from millrace.contracts.headers import CONTENT_TYPE
from millrace.contracts.ids import derived_id
from millrace.contracts.model_spec import ModelSpec
from millrace.contracts.normaliser import Normaliser
from millrace.contracts.source import Source
from millrace.contracts.topics import SENSOR_WINDOWS
from millrace.drift.detectors.page_hinkley import PageHinkleyState
from millrace.drift.monitor import MonitorState
from millrace.drift.selection import detectors, key_of
from millrace.registry.decisions import declare
from millrace.registry.state import Registry
from millrace.stream_processors.codec.packing import packed_headers

#: What a stream processor tests unless it is told otherwise.
DETECTORS = detectors(inputs="PageHinkley", error="PageHinkley", skill="PageHinkley")
#: A moment that is whole in every sampling period: 2024-01-01.
START_MS = 1_704_067_200_000
AT = datetime(2024, 1, 1, tzinfo=UTC)

#: Units of a trained version, far from the physical ones.
UNITS = Normaliser((10.0, 200.0, -3.0), (2.0, 50.0, 0.5))
OTHER_UNITS = Normaliser((12.0, 180.0, -2.0), (3.0, 40.0, 0.25))


def errors_seen(state: MonitorState) -> float:
    """Values that the Page-Hinkley test on the error has seen."""
    kept = state.memories[key_of("error", DETECTORS.error[0].spec)]
    (test,) = msgspec.msgpack.decode(kept, type=list[PageHinkleyState])
    return test.n


def pump_spec(
    name: str = "pump",
    *,
    window: int = 6,
    horizon: int = 3,
    stride: int = 3,
    target: Literal["mean", "sequence"] = "sequence",
    targets: tuple[str, ...] = ("flow", "temperature"),
) -> ModelSpec:
    """Describe the task: three sensors a minute, two of which are forecast."""
    return ModelSpec(
        name,
        ("flow", "pressure", "temperature"),
        60.0,
        window=window,
        horizon=horizon,
        stride=stride,
        target=target,
        targets=targets,
    )


def reading(sensor: int, moment: int) -> float:
    """What a sensor reads at a moment, in sampling periods since `START_MS`."""
    return round(10.0 * (sensor + 1) + math.sin(moment / 5.0 + sensor) + 0.01 * moment, 3)


def readings(first: int, samples: int, sensors: int = 3) -> npt.NDArray[np.float32]:
    """Readings of consecutive moments, float32 of shape (samples, sensors)."""
    return np.array(
        [[reading(s, first + i) for s in range(sensors)] for i in range(samples)], np.float32
    )


def pump_window(
    first: int = 0,
    *,
    spec: ModelSpec | None = None,
    asset: str = "pump-1",
    segment: str = "",
    values: npt.NDArray[np.float32] | None = None,
) -> SensorWindow:
    """Build the window that starts at a moment, in sampling periods since `START_MS`."""
    spec = spec or pump_spec()
    return SensorWindow(
        asset,
        spec.sensors,
        START_MS + first * spec.period_ms,
        spec.period_seconds,
        readings(first, spec.window, len(spec.sensors)) if values is None else values,
        segment,
    )


def source_of(offset: int, partition: int = 0) -> Source:
    """Coordinates of a record of `sensor.windows`."""
    return Source(SENSOR_WINDOWS.name, partition, offset, START_MS)


def stamped_window(
    window: SensorWindow,
    offset: int,
    *,
    model: str = "pump",
    version: int = 0,
    epoch: int = 1,
    units: Normaliser | None = None,
    present: Sequence[bool] = (True, True, True),
) -> NormalizedWindow:
    """Build what the stream processor makes of a window without gaps."""
    units = units or Normaliser.identity(len(window.sensors))
    shown = np.array(present, np.bool_)
    return NormalizedWindow(
        window_id=window.id,
        asset=window.asset,
        model=model,
        version=version,
        epoch=epoch,
        source=source_of(offset),
        start_ms=window.start_ms,
        end_ms=window.end_ms,
        values=units.apply(window.values, shown).astype("<f4").tobytes(),
        present=shown.tobytes(),
        segment=window.segment,
    )


def prediction_of(
    window: SensorWindow,
    offset: int,
    *,
    spec: ModelSpec | None = None,
    version: int = 1,
    epoch: int = 2,
    forecast: list[list[float | None]] | None = None,
    persistence: list[float | None] | None = None,
    partition: int = 0,
) -> Prediction:
    """Build a prediction about a window; persistence's, unless told otherwise."""
    spec = spec or pump_spec()
    last: list[float | None] = window.values[-1, list(spec.target_columns)].tolist()
    source = source_of(offset, partition)
    return Prediction(
        id=derived_id("p", source.topic, source.partition, source.offset),
        asset=window.asset,
        model=spec.name,
        version=version,
        stamped_version=version,
        epoch=epoch,
        artefact_digest="a",
        normaliser_digest="n",
        window_id=window.id,
        source=source,
        interval_start=event_time(window.end_ms),
        interval_end=event_time(window.end_ms + spec.horizon * spec.period_ms),
        targets=spec.target_names,
        present=(True,) * len(spec.target_names),
        forecast=[list(last) for _ in range(spec.steps)] if forecast is None else forecast,
        persistence=last if persistence is None else persistence,
        predicted_at=AT,
        latency_ms=1.0,
    )


def registered(
    version: int,
    *,
    spec: ModelSpec | None = None,
    units: Normaliser = UNITS,
    artefact: Artefact | None = None,
) -> Registered:
    """Build the event that a version exists."""
    spec = spec or pump_spec()
    return Registered(
        id=f"registered-{spec.name}-{version}",
        model=spec.name,
        version=version,
        at=AT,
        spec=spec,
        normaliser=units,
        artefact=artefact,
    )


def approved(version: int, model: str = "pump") -> Approved:
    """Build the event that the gate let a version pass."""
    return Approved(
        id=f"approved-{model}-{version}", model=model, version=version, at=AT, detail=""
    )


def activated(version: int, epoch: int, model: str = "pump") -> Activated:
    """Build the event that a version serves from now on."""
    return Activated(
        id=f"activated-{model}-{epoch}", model=model, version=version, at=AT, epoch=epoch
    )


def rolled_back(version: int, epoch: int, model: str = "pump") -> RolledBack:
    """Build the event that an older version serves again."""
    return RolledBack(
        id=f"rolled-back-{model}-{epoch}",
        model=model,
        version=version,
        at=AT,
        epoch=epoch,
        detail="",
    )


def registry_of(*events: ModelEvent, specs: Iterable[ModelSpec] = ()) -> Registry:
    """Fold the declarations of models (of the pump, if none is named) and more events."""
    registry = Registry()
    for spec in specs or (pump_spec(),):
        for event in declare(spec, AT):
            registry.apply(event)
    for event in events:
        registry.apply(event)
    return registry


@dataclass
class WindowRecord:
    """A record of `sensor.windows` as the client delivers it."""

    value: bytes | None
    key: bytes | None
    offset: int
    partition: int = 0
    topic: str = SENSOR_WINDOWS.name
    timestamp: int = START_MS
    headers: Sequence[tuple[str, bytes]] = field(
        default_factory=lambda: [(CONTENT_TYPE, MSGPACK.encode())]
    )

    @property
    def packed(self) -> bytes:
        """Its headers in Kafka's form."""
        return packed_headers(self.headers)


def window_record(window: SensorWindow, offset: int, partition: int = 0) -> WindowRecord:
    """Build the record in which a window comes."""
    return WindowRecord(encode_window(window), window.asset.encode(), offset, partition)


def prediction_record(prediction: Prediction, offset: int, partition: int = 0) -> WindowRecord:
    """Build the record in which a prediction comes."""
    return WindowRecord(
        msgspec.json.encode(prediction), prediction.asset.encode(), offset, partition, "predictions"
    )
