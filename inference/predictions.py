"""What a version says about windows, with its provenance."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime

import numpy as np
import numpy.typing as npt

from contracts.events import event_time
from contracts.ids import derived_id
from contracts.normaliser import Normaliser
from contracts.normalized_window import NormalizedWindow
from contracts.prediction import Prediction
from inference.servables import Float32, Servable


def predict(
    servable: Servable,
    windows: Sequence[NormalizedWindow],
    stamped: Normaliser | None,
    at: datetime,
) -> Iterator[Prediction | None]:
    """Run windows on a version.

    Args:
        servable: The version.
        windows: Windows of its model.
        stamped: Units that the windows are in, where these are another version's: they are
            taken to the servable's units first. None where they are its own.
        at: Wall clock.

    Yields:
        A prediction for each window, in order; None where the forecast is not finite.
    """
    spec = servable.spec
    values = np.stack([w.matrix(len(spec.sensors)) for w in windows])
    present = np.stack([w.presence() for w in windows])
    if stamped is not None:
        columns = tuple(range(len(spec.sensors)))
        values = servable.normaliser.apply(stamped.restore(values, columns), present)
    targets = spec.target_columns
    forecast = servable.normaliser.restore(servable.forecast(values, present), targets)
    last = servable.normaliser.restore(values[:, -1, list(targets)], targets)
    for index, window in enumerate(windows):
        shown = present[index, list(targets)]
        if not np.isfinite(forecast[index][:, shown]).all():
            yield None
            continue
        yield _prediction(servable, window, forecast[index], last[index], shown.tolist(), at)


def _prediction(
    servable: Servable,
    window: NormalizedWindow,
    forecast: Float32,
    last: Float32,
    present: list[bool],
    at: datetime,
) -> Prediction:
    spec = servable.spec
    source = window.source
    return Prediction(
        id=derived_id("p", source.topic, source.partition, source.offset),
        asset=window.asset,
        model=spec.name,
        version=servable.version,
        stamped_version=window.version,
        epoch=window.epoch,
        artefact_digest=servable.artefact_digest,
        normaliser_digest=servable.normaliser.digest,
        window_id=window.window_id,
        source=source,
        interval_start=event_time(window.end_ms),
        interval_end=event_time(window.end_ms + round(spec.horizon * spec.period_seconds * 1000)),
        targets=spec.target_names,
        present=tuple(present),
        forecast=[_row(row, present) for row in forecast],
        persistence=_row(last, present),
        predicted_at=at,
        latency_ms=at.timestamp() * 1000 - source.timestamp_ms,
    )


def _row(values: npt.NDArray[np.float32], present: list[bool]) -> list[float | None]:
    """A row of numbers; None where the sensor is absent."""
    return [x if shown else None for x, shown in zip(values.tolist(), present, strict=True)]
