"""Versions that can predict.

A servable is immutable: it is loaded, verified and warmed before anyone sees it, and a
reader holds it for as long as its batch takes. So swapping is putting another one beside
it, and dropping one disturbs nobody.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

from contracts.model_spec import ModelSpec
from contracts.normaliser import Normaliser

Float32 = npt.NDArray[np.float32]
Bools = npt.NDArray[np.bool_]


class Forecaster(Protocol):
    """What turns windows into forecasts."""

    def __call__(self, values: Float32, present: Bools) -> Float32:
        """Forecast.

        Args:
            values: float32 of shape (n, window, sensors), normalised.
            present: bool of shape (n, sensors).

        Returns:
            float32 of shape (n, steps, targets), normalised.
        """


@dataclass(frozen=True)
class Servable:
    """A version that is ready.

    Attributes:
        spec: What it reads and forecasts.
        version: Its number.
        normaliser: Its units.
        artefact_digest: SHA-256 of its artefact's manifest; of its spec for version 0.
        forecast: Makes forecasts.
    """

    spec: ModelSpec
    version: int
    normaliser: Normaliser
    artefact_digest: str
    forecast: Forecaster


@dataclass(frozen=True)
class Persistence:
    """Version 0: the last reading of each target, repeated."""

    spec: ModelSpec

    def __call__(self, values: Float32, present: Bools) -> Float32:  # noqa: ARG002  (the port)
        """Repeat the last reading; see `Forecaster`."""
        last = values[:, -1, list(self.spec.target_columns)]
        return np.repeat(last[:, None, :], self.spec.steps, axis=1)


class Servables:
    """Ready versions by model and number; written by the loader, read by the consumer."""

    def __init__(self) -> None:
        """Start with none."""
        self._changed = threading.Condition()
        self._ready: dict[tuple[str, int], Servable] = {}
        self._unloadable: dict[tuple[str, int], str] = {}
        self._wanted: set[tuple[str, int]] = set()
        self._late: set[tuple[str, int]] = set()

    def find(self, model: str, version: int, timeout: float) -> Servable | None:
        """Find a version; if it is not there, have it loaded and wait for it.

        Args:
            model: The model.
            version: The version's number.
            timeout: Seconds to wait. Once a version has not come in time, later calls do not
                wait for it any more, until it is there.

        Returns:
            The version, or None if it cannot be loaded, or not in time.
        """
        key = (model, version)
        with self._changed:
            if key not in self._ready:
                self._wanted.add(key)
                in_time = self._changed.wait_for(
                    lambda: key in self._ready or key in self._unloadable,
                    0 if key in self._late else timeout,
                )
                if in_time:
                    self._wanted.discard(key)
                else:
                    self._late.add(key)
            return self._ready.get(key)

    def put(self, servable: Servable) -> None:
        """Make a version available."""
        key = (servable.spec.name, servable.version)
        with self._changed:
            self._ready[key] = servable
            self._unloadable.pop(key, None)
            self._late.discard(key)
            self._changed.notify_all()

    def refuse(self, model: str, version: int, why: str) -> None:
        """Say that a version cannot be loaded."""
        with self._changed:
            self._unloadable[(model, version)] = why
            self._changed.notify_all()

    def keep_only(self, keys: set[tuple[str, int]]) -> None:
        """Drop versions that nothing asks for any more."""
        with self._changed:
            for key in set(self._ready) - keys - self._wanted:
                del self._ready[key]

    def wanted(self) -> set[tuple[str, int]]:
        """Versions that a batch is waiting for."""
        with self._changed:
            return set(self._wanted)

    def knows(self, model: str, version: int) -> bool:
        """Whether a version is ready or refused."""
        key = (model, version)
        with self._changed:
            return key in self._ready or key in self._unloadable
