"""Versions that can predict.

A servable is immutable: it is loaded, verified and warmed before anyone sees it, and a
reader holds it for as long as its batch takes. So swapping is putting another one beside
it, and dropping one disturbs nobody.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final, Protocol

import numpy as np
import numpy.typing as npt

from millrace.contracts.model_spec import ModelSpec
from millrace.contracts.normaliser import Normaliser
from millrace.inference.serving.batches import Stamp
from millrace.infra.kafka.patience import Stopped

#: How often who waits for a version looks whether to stop, seconds.
LOOK_SECONDS: Final = 0.25

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

    def __init__(self, stop: threading.Event | None = None) -> None:
        """Start with none.

        Args:
            stop: Set when the process is to end: nobody waits for a version then.
        """
        self._stop = stop or threading.Event()
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

        Raises:
            Stopped: The process was told to stop while it waited.
        """
        key = (model, version)
        with self._changed:
            if key not in self._ready:
                self._wanted.add(key)
                if self._wait(key, timeout):
                    self._wanted.discard(key)
                else:
                    self._late.add(key)
            return self._ready.get(key)

    def _wait(self, key: tuple[str, int], timeout: float) -> bool:
        """Wait until a version is ready or refused; False if it is neither in time."""
        end = time.monotonic() + timeout
        while key not in self._ready and key not in self._unloadable:
            left = end - time.monotonic()
            if left <= 0 or key in self._late:
                return False
            if self._stop.is_set():
                raise Stopped("a version to be loaded")
            self._changed.wait(min(left, LOOK_SECONDS))
        return True

    def settled(self, stamps: Iterable[Stamp]) -> bool:
        """Whether `find` would answer for each of some stamps without waiting."""
        keys = {(stamp.model, stamp.version) for stamp in stamps}
        with self._changed:
            return keys <= self._ready.keys() | self._unloadable.keys() | self._late

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

    def postpone(self, model: str, version: int) -> None:
        """Say that a version cannot be loaded now, but may be later: nobody waits for it."""
        with self._changed:
            self._late.add((model, version))
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

    def missing(self, keys: set[tuple[str, int]]) -> set[tuple[str, int]]:
        """Tell which of some versions are neither ready nor refused."""
        with self._changed:
            return keys - set(self._ready) - set(self._unloadable)

    def has(self, model: str, version: int) -> bool:
        """Whether a version is ready."""
        with self._changed:
            return (model, version) in self._ready

    def knows(self, model: str, version: int) -> bool:
        """Whether a version is ready or refused."""
        key = (model, version)
        with self._changed:
            return key in self._ready or key in self._unloadable
