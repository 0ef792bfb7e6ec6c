"""A model version's units: they convert physical readings into its inputs, and back.

The normaliser is fitted on a version's training data and belongs to that version permanently.
Version 0, persistence, is not trained, so its units are the physical ones (mean 0, scale 1).
"""

from __future__ import annotations

import math
from hashlib import sha256
from typing import Any, Final

import msgspec
import numpy as np
import numpy.typing as npt

from millrace.contracts.errors import DataError

Float32 = npt.NDArray[np.float32]

#: Values that are scaled at a time: as many float64 as fit into a core's cache.
_BLOCK: Final = 1 << 15


class Normaliser(msgspec.Struct, frozen=True):
    """Per-sensor mean and scale, in physical units.

    Attributes:
        mean: One per sensor.
        scale: One per sensor, positive: the standard deviation of the training data.

    Raises:
        DataError: Lengths differ, or a value cannot be a mean or a scale.
    """

    mean: tuple[float, ...]
    scale: tuple[float, ...]

    def __post_init__(self) -> None:
        """Refuse units that no window could be normalised with."""
        if len(self.mean) != len(self.scale):
            raise DataError(f"normaliser: {len(self.mean)} means for {len(self.scale)} scales")
        if not all(math.isfinite(m) for m in self.mean):
            raise DataError(f"normaliser: means must be finite, got {self.mean}")
        if not all(math.isfinite(s) and s > 0 for s in self.scale):
            raise DataError(f"normaliser: scales must be finite and positive, got {self.scale}")

    @staticmethod
    def identity(sensors: int) -> Normaliser:
        """Physical units, as version 0 uses them."""
        return Normaliser((0.0,) * sensors, (1.0,) * sensors)

    @property
    def digest(self) -> str:
        """SHA-256 of the canonical JSON form, hexadecimal."""
        return sha256(msgspec.json.encode(self)).hexdigest()

    def apply(
        self, values: npt.NDArray[np.floating[Any]], present: npt.NDArray[np.bool_]
    ) -> Float32:
        """Normalise filled readings.

        Args:
            values: Shape (..., samples, sensors), physical units, without NaN.
            present: bool of shape (..., sensors).

        Returns:
            float32 of the same shape; absent sensors are 0.
        """
        *leading, samples, sensors = values.shape
        windows = values.reshape(math.prod(leading), samples * sensors)
        # A window is one row: NumPy processes long rows much faster than rows of a few sensors.
        mean, scale = np.tile(self.mean, samples), np.tile(self.scale, samples)
        scaled_windows = np.empty(windows.shape, np.float32)
        step = max(1, _BLOCK // max(1, samples * sensors))
        for start in range(0, len(windows), step):
            scaled = np.subtract(windows[start : start + step], mean, dtype=np.float64)
            scaled /= scale
            scaled_windows[start : start + step] = scaled
        made: Float32 = scaled_windows.reshape(values.shape)
        if not present.all():
            made[np.broadcast_to(~present[..., None, :], made.shape)] = 0.0
        return made

    def restore(self, values: npt.NDArray[np.floating[Any]], columns: tuple[int, ...]) -> Float32:
        """Convert normalised values of some sensors to physical units.

        Args:
            values: Shape (..., len(columns)), normalised.
            columns: The sensor of each column.
        """
        mean = np.array([self.mean[c] for c in columns])
        scale = np.array([self.scale[c] for c in columns])
        physical: Float32 = (values.astype(np.float64) * scale + mean).astype(np.float32)
        return physical
