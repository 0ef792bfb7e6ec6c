"""Versions that are made, not trained: an artefact with seeded weights, and its events."""

from __future__ import annotations

from typing import Any, Final
from uuid import uuid4

import msgspec
import numpy as np

from millrace.contracts.clock import now
from millrace.contracts.events.model_event import Approved, Artefact, Registered
from millrace.contracts.model_spec import ModelSpec
from millrace.contracts.normaliser import Normaliser
from millrace.model_families.artefact import PackedArtefact, pack
from millrace.model_families.family import Weights
from millrace.model_families.lstm_highway.forecaster import (
    HEAD_BIAS,
    HEAD_KERNEL,
    HIGHWAY,
    LSTM_KERNEL,
    architecture_of,
)

#: How large the seeded weights are: forecasts differ between versions and stay finite.
_SIZE: Final = 0.05


def units_of(version: int) -> Normaliser:
    """Units of a version, other than those of the one before."""
    return Normaliser(
        (10.0 + version % 7, 200.0 - version % 5, -3.0 + version % 3),
        (2.0 + 0.1 * (version % 4), 2.5, 1.5 + 0.2 * (version % 6)),
    )


def seeded_weights(spec: ModelSpec, seed: int) -> Weights:
    """Draw weights of the network that the task's versions have."""
    a = architecture_of(spec)
    rng = np.random.default_rng(seed)
    shapes: dict[str, tuple[int, ...]] = {
        HIGHWAY: (a.window * a.sensors, a.outputs),
        LSTM_KERNEL: (a.patch * a.sensors + a.sensors, 4 * a.units),
        LSTM_KERNEL.replace("kernel", "recurrent_kernel"): (a.units, 4 * a.units),
        LSTM_KERNEL.replace("kernel", "bias"): (4 * a.units,),
        HEAD_KERNEL: (a.units, a.outputs),
        HEAD_BIAS: (a.outputs,),
    }
    return {n: rng.normal(0, _SIZE, s).astype(np.float32) for n, s in shapes.items()}


def packed(
    spec: ModelSpec,
    version: int,
    *,
    weights: Weights | None = None,
    architecture: dict[str, Any] | None = None,
) -> PackedArtefact:
    """Pack a version's artefact."""
    return pack(
        model=spec.name,
        version=version,
        run_id=uuid4().hex[:8],
        architecture=architecture or msgspec.to_builtins(architecture_of(spec)),
        normaliser=units_of(version),
        weights=weights or seeded_weights(spec, version),
        optimizer=None,
    )


def registered(spec: ModelSpec, version: int, artefact: Artefact | None) -> Registered:
    """Build the event that a version exists; without an artefact it forecasts persistence."""
    return Registered(
        id=f"registered-{spec.name}-{version}",
        model=spec.name,
        version=version,
        at=now(),
        spec=spec,
        normaliser=units_of(version),
        artefact=artefact,
    )


def approved(spec: ModelSpec, version: int) -> Approved:
    """Build the event that a version may serve."""
    return Approved(
        id=f"approved-{spec.name}-{version}",
        model=spec.name,
        version=version,
        at=now(),
        detail="made for a fault test",
    )
