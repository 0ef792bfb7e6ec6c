"""A forecast with its full provenance (JSON, for people and any Kafka tool)."""

from __future__ import annotations

from typing import Annotated, ClassVar

import msgspec

from millrace.contracts.events.event import Event
from millrace.contracts.moment import Moment
from millrace.contracts.source import Source
from millrace.contracts.topics import PREDICTIONS, Topic


class Prediction(Event, frozen=True):
    """What a model version said about a window.

    Attributes:
        id: Deterministic, from the source record.
        asset: The machine.
        model: Model that served.
        version: Version that served; its units were used from end to end.
        stamped_version: Version that the stream was stamped with. Differs from ``version``
            only while a version that cannot be loaded is being replaced.
        epoch: Serving epoch of the stamp.
        artefact_digest: SHA-256 of the version's artefact manifest; of its spec for version 0.
        normaliser_digest: SHA-256 of the version's normaliser.
        window_id: The edge's window.
        source: Its record in `sensor.windows`.
        interval_start: Event time of the first forecast sample.
        interval_end: Event time one period after the last.
        targets: Sensor of each forecast column.
        present: Whether each target was present in the window; absent ones are null.
        forecast: One row per step, one column per target, physical units.
        persistence: The last reading of each target: the forecast to beat.
        predicted_at: When the forecast was made.
        latency_ms: From the source record's timestamp until then.
    """

    TYPE: ClassVar[str] = "millrace.prediction.v1"
    TOPIC: ClassVar[Topic] = PREDICTIONS
    DERIVED: ClassVar[bool] = True

    id: str
    asset: str
    model: str
    version: int
    stamped_version: int
    epoch: int
    artefact_digest: str
    normaliser_digest: str
    window_id: str
    source: Source
    interval_start: Moment
    interval_end: Moment
    targets: tuple[str, ...]
    present: tuple[bool, ...]
    forecast: Annotated[list[list[float | None]], msgspec.Meta(description="steps x targets")]
    persistence: list[float | None]
    predicted_at: Moment
    latency_ms: float
    v: int = 1
