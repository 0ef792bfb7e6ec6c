"""Data of a fit: normalised windows with their truth and weight."""

from dataclasses import dataclass
from typing import Self

import numpy as np
import numpy.typing as npt

Bools = npt.NDArray[np.bool_]
Float32 = npt.NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class Examples:
    """Normalised windows and truth.

    Attributes:
        x: float32 of shape (n, window, sensors), standard deviations, 0 where absent.
        present: float32 of shape (n, sensors), 1 or 0.
        y: float32 of shape (n, steps, targets), standard deviations, any finite number where
            unknown.
        known: float32 of shape (n, targets), 1 or 0.
        weight: Weight of each in the fit, float32 of shape (n,), positive.
    """

    x: Float32
    present: Float32
    y: Float32
    known: Float32
    weight: Float32

    def __len__(self) -> int:
        """Count the examples."""
        return len(self.x)

    def take(self, rows: npt.NDArray[np.intp]) -> Self:
        """Select rows by index, in the given order."""
        return type(self)(
            self.x[rows], self.present[rows], self.y[rows], self.known[rows], self.weight[rows]
        )
