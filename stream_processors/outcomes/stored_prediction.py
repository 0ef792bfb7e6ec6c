"""Compact copy of a prediction, stored until its truth arrives.

It leaves out the fields that the window and the model spec already give.
"""

from __future__ import annotations

import struct
from functools import lru_cache
from itertools import chain
from typing import Any, Final

import msgspec
import numpy as np
import numpy.typing as npt

from millrace.contracts.events.prediction import Prediction
from millrace.contracts.model_spec import ModelSpec

_LARGEST: Final = float(np.finfo(np.float32).max)


class StoredPrediction(msgspec.Struct, array_like=True, gc=False):
    """A stored prediction, without the fields that window and model spec give.

    Attributes:
        offset: Source offset of the window.
        partition: Source partition of the window.
        timestamp_ms: Kafka timestamp of the window's record.
        version: Version that served.
        epoch: Serving epoch.
        forecast: float32 of shape (steps, targets), physical units, NaN where absent; empty
            if the prediction cannot be used.
        persistence: float32 of shape (targets,), the same.
    """

    offset: int
    partition: int
    timestamp_ms: int
    version: int
    epoch: int
    forecast: bytes
    persistence: bytes

    @staticmethod
    def of(prediction: Prediction) -> StoredPrediction:
        """Build the compact copy of a prediction."""
        source = prediction.source
        return StoredPrediction(
            source.offset,
            source.partition,
            source.timestamp_ms,
            prediction.version,
            prediction.epoch,
            _packed(*chain.from_iterable(prediction.forecast)),
            _packed(*prediction.persistence),
        )


class Joined(msgspec.Struct, frozen=True, gc=False):
    """A forecast and its truth.

    Attributes:
        start_ms: Event time of the window's first sample.
        begins_ms: Event time of the first forecast sample.
        truth: NaN where there is none: float32 of shape (steps, targets), or for a mean
            float64 of shape (1, targets).
        answer: The forecast.
        segment: The window's segment.
    """

    start_ms: int
    begins_ms: int
    truth: bytes
    answer: StoredPrediction
    segment: str

    def measured(self, spec: ModelSpec) -> npt.NDArray[np.floating[Any]]:
        """View the truth as an array of shape (steps, targets)."""
        kind = "<f8" if spec.target == "mean" else "<f4"
        flat: npt.NDArray[np.floating[Any]] = np.frombuffer(self.truth, kind)
        return flat.reshape(spec.steps, -1)


def _packed(*values: float | None) -> bytes:
    """Encode numbers as little-endian float32, the precision of forecasts; None becomes NaN.

    Returns:
        The bytes; empty if a number is out of range for float32.
    """
    try:
        return _form(len(values)).pack(*values)
    except (struct.error, OverflowError):  # some are None, or too large
        told = np.array(values, np.float64)
        if (np.abs(told) > _LARGEST).any():
            return b""
        return told.astype("<f4").tobytes()


@lru_cache(maxsize=256)
def _form(count: int) -> struct.Struct:
    return struct.Struct(f"<{count}f")
