"""Versions that can predict.

A servable is immutable: it is loaded, verified and warmed up before it is published, and a reader
keeps a reference for the duration of its batch. So a swap adds another servable, and dropping one
affects no reader.
"""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum, auto
from typing import Final

import numpy as np

from millrace.contracts.model_spec import ModelSpec
from millrace.contracts.normaliser import Normaliser
from millrace.inference.serving.batches import Stamp
from millrace.infra.kafka.retry import Stopped
from millrace.model_families.examples import Bools, Float32
from millrace.model_families.family import Forecaster

#: How often a waiting `find` checks the stop signal, seconds.
LOOK_SECONDS: Final = 0.25

#: Model and number of a version.
Key = tuple[str, int]


@dataclass(frozen=True)
class Servable:
    """A version that can predict.

    Attributes:
        spec: Its forecasting task.
        version: Its number.
        normaliser: Its units.
        artefact_digest: SHA-256 of its artefact's manifest; of its spec for version 0.
        forecast: Computes forecasts.
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


class VersionState(Enum):
    """State of a version on a replica.

    ```
    find ─► WANTED ─┬─► READY       (put)     ─► forgotten (keep_only)
                    ├─► UNLOADABLE  (refuse)  ─► READY     (put)
                    └─► LATE        (not in time, or postpone) ─► READY | UNLOADABLE
    postpone ─► POSTPONED ─► LATE (find) | READY | UNLOADABLE
    ```
    """

    #: A micro-batch is waiting for it.
    WANTED = auto()
    #: It was not loaded in time: micro-batches no longer wait for it; the loader keeps retrying.
    LATE = auto()
    #: The loader cannot fetch it now; no micro-batch has requested it.
    POSTPONED = auto()
    #: It can predict.
    READY = auto()
    #: It cannot be loaded.
    UNLOADABLE = auto()


class Servables:
    """Versions by model and number; written by the loader, read by the consumer."""

    def __init__(self, stop: threading.Event | None = None) -> None:
        """Start with none.

        Args:
            stop: Set at shutdown; ends all waiting for versions.
        """
        self._stop = stop or threading.Event()
        self._changed = threading.Condition()
        self._states: dict[Key, VersionState] = {}
        self._ready: dict[Key, Servable] = {}
        #: Number of waiting micro-batches by version.
        self._waiting: Counter[Key] = Counter()

    def find(self, model: str, version: int, timeout: float) -> Servable | None:
        """Find a version; if it is not loaded, request it and wait for it.

        Args:
            model: The model.
            version: The version's number.
            timeout: Seconds to wait. After a version was not loaded in time, later calls do not
                wait for it until it is loaded.

        Returns:
            The version, or None if it cannot be loaded, or not in time.

        Raises:
            Stopped: A stop signal arrived during the wait.
        """
        key = (model, version)
        with self._changed:
            state = self._states.setdefault(key, VersionState.WANTED)
            if state is VersionState.POSTPONED:
                self._states[key] = VersionState.LATE
            if state is VersionState.WANTED:
                self._waiting[key] += 1
                try:
                    self._wait(key, timeout)
                finally:
                    self._waiting[key] -= 1
            return self._ready.get(key)

    def _wait(self, key: Key, timeout: float) -> None:
        """Wait until a version is no longer `WANTED`; at the timeout it becomes `LATE`."""
        end = time.monotonic() + timeout
        while self._states[key] is VersionState.WANTED:
            left = end - time.monotonic()
            if left <= 0:
                self._states[key] = VersionState.LATE
                return
            if self._stop.is_set():
                raise Stopped("a version to be loaded")
            self._changed.wait(min(left, LOOK_SECONDS))

    def settled(self, stamps: Iterable[Stamp]) -> bool:
        """Whether `find` would return for all stamps without waiting."""
        with self._changed:
            states = [self._states.get((stamp.model, stamp.version)) for stamp in stamps]
        return not {None, VersionState.WANTED} & set(states)

    def put(self, servable: Servable) -> None:
        """Make a version available."""
        key = (servable.spec.name, servable.version)
        with self._changed:
            self._ready[key] = servable
            self._states[key] = VersionState.READY
            self._changed.notify_all()

    def refuse(self, model: str, version: int) -> None:
        """Mark a version as unloadable."""
        self._set((model, version), VersionState.UNLOADABLE)

    def postpone(self, model: str, version: int) -> None:
        """Mark a version as not loadable for now; micro-batches do not wait for it."""
        key = (model, version)
        with self._changed:
            asked = key in self._in(VersionState.WANTED, VersionState.LATE)
            self._set(key, VersionState.LATE if asked else VersionState.POSTPONED)

    def _set(self, key: Key, state: VersionState) -> None:
        with self._changed:
            self._states[key] = state
            self._changed.notify_all()

    def keep_only(self, keys: set[Key]) -> None:
        """Drop all other versions."""
        with self._changed:
            for key in self._ready.keys() - keys - (+self._waiting).keys():
                del self._ready[key], self._states[key]

    def wanted(self) -> set[Key]:
        """Versions that a micro-batch has requested, and that are neither ready nor refused."""
        with self._changed:
            return self._in(VersionState.WANTED, VersionState.LATE)

    def missing(self, keys: set[Key]) -> set[Key]:
        """Return those versions that are neither ready nor refused."""
        with self._changed:
            return keys - self._in(VersionState.READY, VersionState.UNLOADABLE)

    def has(self, model: str, version: int) -> bool:
        """Whether a version is ready."""
        with self._changed:
            return (model, version) in self._ready

    def knows(self, model: str, version: int) -> bool:
        """Whether a version is ready or refused."""
        return not self.missing({(model, version)})

    def _in(self, *states: VersionState) -> set[Key]:
        return {key for key, state in self._states.items() if state in states}
