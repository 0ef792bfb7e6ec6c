"""The port of model families: the operations of a kind of model, from a task to a forecast.

```
ModelSpec ─► architecture ─► fit (examples) ─► weights ─► artefact
                                                              │
                 windows ─► forecaster ◄─ runtime ◄───────────┘
```

The ``kind`` of an artefact's architecture names the family that reads it; a model's ``recipe``
names the family that its trainings use. See docs/ports/model_families.md for how to write your own.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Hashable, Mapping
from dataclasses import dataclass
from typing import Any, Generic, Protocol, TypeVar

import msgspec
import numpy as np
import numpy.typing as npt

from millrace.contracts.model_spec import ModelSpec
from millrace.contracts.normaliser import Normaliser
from millrace.model_families.examples import Bools, Examples, Float32

Weights = dict[str, Float32]
Tensors = dict[str, npt.NDArray[Any]]


class FitSettings(msgspec.Struct, frozen=True):
    """Settings of a fit; a family uses those that apply to it.

    Attributes:
        seed: Seed of all random numbers: initial weights, order of examples, dropout.
        batch: Examples in a step.
        learning_rate: Initial learning rate; it decays along a cosine to nearly 0.
        weight_decay: AdamW's.
        clip_norm: Limit of a gradient's norm.
        dropout: Share of the recurrent outputs that a step drops.
        max_epochs: Most passes over the examples.
        max_steps: Most steps, whatever the number of epochs; bounds the time of a fit.
        patience: Epochs without a lower validation error before the fit ends.
        penalties: Ridge penalties of a linear part to choose from.
    """

    seed: int = 1
    batch: int = 64
    learning_rate: float = 2e-3
    weight_decay: float = 1e-4
    clip_norm: float = 1.0
    dropout: float = 0.3
    max_epochs: int = 40
    max_steps: int = 3_000
    patience: int = 5
    penalties: tuple[float, ...] = (30.0, 100.0, 300.0, 1_000.0, 3_000.0)


@dataclass(frozen=True, eq=False)
class Start:
    """State from which a warm start continues.

    Attributes:
        weights: The serving version's, in this run's units (see `ModelFamily.rescale`).
        optimizer: Its optimizer's state; if it is None or of another network, a fresh one is
            used.
    """

    weights: Weights
    optimizer: Tensors | None = None


@dataclass(frozen=True, eq=False)
class Fitted:
    """Result of a fit.

    Attributes:
        weights: The model's variables, float32, by name.
        optimizer: The optimizer's variables, by name; empty if there is none.
        figures: Figures about the fit for people, as plain values.
    """

    weights: Weights
    optimizer: Tensors
    figures: dict[str, Any]


class Forecaster(Protocol):
    """Turns windows into forecasts."""

    def __call__(self, values: Float32, present: Bools) -> Float32:
        """Forecast.

        Args:
            values: float32 of shape (n, window, sensors), normalised.
            present: bool of shape (n, sensors).

        Returns:
            float32 of shape (n, steps, targets), normalised.
        """


class Runtime(Protocol):
    """An architecture, ready to serve; its versions differ only in their weights."""

    def load(self, weights: Mapping[str, Float32]) -> Forecaster:
        """Make a version of it; must be cheap, because it delays the serving version.

        Raises:
            DataError: The weights are not this architecture's.
        """
        ...


A = TypeVar("A", bound=Hashable)


class ModelFamily(ABC, Generic[A]):
    """A kind of models. Its architectures are frozen msgspec structs with a field ``kind``.

    Guarantee: the same examples, settings and start give the same weights, bit for bit, on the same
    machine with the same packages; a forecast of a window depends, bit for bit, on nothing but the
    window and its version.

    Attributes:
        kind: Its name, in an architecture and in a model's recipe.
    """

    kind: str

    @abstractmethod
    def architecture(self, spec: ModelSpec) -> A:
        """Choose the architecture for a task.

        Raises:
            DataError: The task is not one for this family, or too large.
        """

    @abstractmethod
    def read(self, values: Mapping[str, Any]) -> A:
        """Read an artefact's architecture, which is untrusted.

        Raises:
            DataError: It is not one that this program can build, or too large.
        """

    @abstractmethod
    def check(self, architecture: A, spec: ModelSpec) -> None:
        """Check that an architecture matches a task's inputs and forecasts.

        Raises:
            DataError: It does not match.
        """

    @abstractmethod
    def fit(
        self,
        architecture: A,
        train: Examples,
        validation: Examples,
        settings: FitSettings,
        start: Start | None,
    ) -> Fitted:
        """Fit; in a process of its own, after `prepare_fit`.

        Args:
            architecture: What to fit.
            train: Training examples.
            validation: Examples for early stopping; shares no sample with ``train``.
            settings: Settings of the fit.
            start: The serving version; None starts afresh.

        Raises:
            DataError: There are no usable examples, or the fit has diverged.
        """

    @abstractmethod
    def rescale(
        self, architecture: A, weights: Weights, old: Normaliser, new: Normaliser
    ) -> Weights:
        """Convert weights to other units, so that the same readings are forecast."""

    @abstractmethod
    def runtime(self, architecture: A) -> Runtime:
        """Build an architecture for serving; may take seconds."""

    def prepare_fit(self) -> None:
        """Load a fit's libraries and make them deterministic; called once, before anything else."""

    def prepare_serving(self) -> None:
        """Set up the process for serving; called once, before anything else."""

    @property
    def memory_errors(self) -> tuple[type[Exception], ...]:
        """Exceptions that its libraries raise when memory is exhausted."""
        return (MemoryError,)

    def forecast(
        self, architecture: A, weights: Weights, values: Float32, present: Bools
    ) -> Float32:
        """Forecast once, outside serving; see `Forecaster`."""
        return np.asarray(self.runtime(architecture).load(weights)(values, present))
