"""Solves the kernel of the forecaster's linear highway in closed form.

It is a ridge regression of the change from the last value on the centred window. It needs no steps
and no learning rate, is the best linear forecaster of *all* the history at every run, and leaves
only the nonlinear part to the LSTM. The penalty is chosen on the validation stretch.

Reference: A. E. Hoerl, R. W. Kennard, Ridge Regression, Technometrics 12 (1970).
"""

from collections.abc import Iterator
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from millrace.model_families.examples import Examples
from millrace.model_families.lstm_highway.forecaster import Architecture

#: Examples whose inputs are converted to float64 at a time.
_PART: Final = 2_048

Floats = npt.NDArray[np.float64]


def solve_highway(
    architecture: Architecture,
    train: Examples,
    validation: Examples,
    penalties: tuple[float, ...],
) -> tuple[npt.NDArray[np.float32], float]:
    """Solve the highway for each penalty and keep the solution that forecasts best.

    Args:
        architecture: The network.
        train: Training examples.
        validation: Examples on which the penalty is chosen.
        penalties: Penalties on the squared kernel, in examples.

    Returns:
        The kernel, float32 of shape (window * sensors, steps * targets), and the penalty.
    """
    gram, moments = _moments(architecture, train)

    best: tuple[float, float, Floats] | None = None
    for penalty in penalties:
        solved = np.linalg.solve(gram + penalty * np.eye(len(gram)), moments)
        kernel: Floats = solved.astype(np.float64, copy=False)
        error = float(sum(_error(architecture, kernel, part) for part in _parts(validation)))
        if best is None or error < best[0]:
            best = (error, penalty, kernel)
    if best is None:
        raise ValueError("solve_highway needs at least one penalty")
    return best[2].astype(np.float32), best[1]


def _moments(architecture: Architecture, examples: Examples) -> tuple[Floats, Floats]:
    """Sum the weighted products of inputs with inputs, and of inputs with changes."""
    size = architecture.window * architecture.sensors
    gram = np.zeros((size, size))
    moments = np.zeros((size, architecture.steps * len(architecture.targets)))
    mean = examples.weight.mean()
    for part in _parts(examples):
        inputs = centred(part)
        weighted = inputs * (part.weight / mean)[:, None]
        gram += weighted.T @ inputs
        moments += weighted.T @ _changes(architecture, part)
    return gram, moments


def _error(architecture: Architecture, kernel: Floats, examples: Examples) -> float:
    """Sum the absolute errors of a kernel where the truth is known."""
    missed = np.abs(centred(examples) @ kernel - _changes(architecture, examples))
    return float((missed * np.tile(examples.known, architecture.steps)).sum())


def _parts(examples: Examples) -> Iterator[Examples]:
    """Cut examples into parts whose float64 copies are small."""
    for start in range(0, len(examples), _PART):
        yield examples.take(np.arange(start, min(start + _PART, len(examples))))


def centred(examples: Examples) -> Floats:
    """Flatten windows minus their last values, 0 where absent: (n, window * sensors)."""
    moved: npt.NDArray[Any] = examples.x - examples.x[:, -1:, :]
    masked = moved * examples.present[:, None, :]
    return masked.reshape(len(masked), -1).astype(np.float64)


def _changes(architecture: Architecture, examples: Examples) -> Floats:
    """Flatten the truth minus the last values, 0 where unknown: (n, steps * targets)."""
    last = examples.x[:, -1:, list(architecture.targets)]
    change = (examples.y - last) * examples.known[:, None, :]
    return change.reshape(len(change), -1).astype(np.float64)
