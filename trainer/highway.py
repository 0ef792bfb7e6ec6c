"""The forecaster's linear highway, solved in closed form: examples in, its kernel out.

Ridge regression of the change from the last value on the centred window. It needs no steps
and no learning rate, is the best linear forecaster of *all* the history at every run, and
leaves the LSTM only what is not linear. How much to shrink is chosen on the validation
stretch.

Reference: A. E. Hoerl, R. W. Kennard, Ridge Regression, Technometrics 12 (1970).
"""

from typing import Any

import numpy as np
import numpy.typing as npt

from infra.forecaster import Architecture
from trainer.examples import Examples

Floats = npt.NDArray[np.float64]


def solve_highway(
    architecture: Architecture,
    train: Examples,
    validation: Examples,
    penalties: tuple[float, ...],
) -> tuple[npt.NDArray[np.float32], float]:
    """Solve the highway for each penalty and keep the one that forecasts best.

    Args:
        architecture: The network.
        train: What to learn from.
        validation: What to choose the penalty on.
        penalties: Penalties on the squared kernel, in examples.

    Returns:
        The kernel, float32 of shape (window * sensors, steps * targets), and the penalty.
    """
    inputs = centred(train)
    weight = (train.weight / train.weight.mean())[:, None]
    wanted = _changes(architecture, train)
    gram = inputs.T @ (inputs * weight)
    moments = inputs.T @ (wanted * weight)
    checked, truth = centred(validation), _changes(architecture, validation)
    known = np.tile(validation.known, architecture.steps)

    best: tuple[float, float, Floats] | None = None
    for penalty in penalties:
        kernel = np.linalg.solve(gram + penalty * np.eye(len(gram)), moments)
        error = float((np.abs(checked @ kernel - truth) * known).sum())
        if best is None or error < best[0]:
            best = (error, penalty, kernel)
    if best is None:
        raise ValueError("solve_highway needs at least one penalty")
    return best[2].astype(np.float32), best[1]


def centred(examples: Examples) -> Floats:
    """Flatten windows less their last values, 0 where absent: (n, window * sensors)."""
    moved: npt.NDArray[Any] = examples.x - examples.x[:, -1:, :]
    masked = moved * examples.present[:, None, :]
    return masked.reshape(len(masked), -1).astype(np.float64)


def _changes(architecture: Architecture, examples: Examples) -> Floats:
    """Flatten the truth less the last values, 0 where unknown: (n, steps * targets)."""
    last = examples.x[:, -1:, list(architecture.targets)]
    change = (examples.y - last) * examples.known[:, None, :]
    return change.reshape(len(change), -1).astype(np.float64)
