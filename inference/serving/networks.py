"""Compiled networks by architecture: a version of a known one needs no compilation to swap in."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from typing import Any

import numpy as np

from millrace.contracts.errors import DataError, ServerError
from millrace.contracts.model_spec import ModelSpec
from millrace.model_families.examples import Float32
from millrace.model_families.family import Forecaster, ModelFamily, Runtime
from millrace.model_families.known import FAMILIES, family_named, family_of
from millrace.model_families.padding import SIZES


class Networks:
    """Compiled networks; owned by the loader."""

    def __init__(self) -> None:
        """Start without any; no model family may have run yet."""
        for family in FAMILIES.values():
            family.prepare_serving()
        self._built: dict[Any, Runtime] = {}

    def forecaster(
        self, architecture: Mapping[str, Any], weights: Mapping[str, Float32], spec: ModelSpec
    ) -> Forecaster:
        """Prepare a version for forecasting.

        Args:
            architecture: Architecture in its artefact.
            weights: Its variables by name.
            spec: Its forecasting task.

        Raises:
            DataError: Architecture or weights do not fit, or the forecasts for a constant and for a
                noisy window are not finite numbers of the right shape.
            ServerError: This machine has not enough memory.
        """
        family = family_of(architecture)
        try:
            described = family.read(architecture)
            family.check(described, spec)
            made = self._runtime(family, described).load(weights)
            _check(made, spec)
        except family.memory_errors as error:
            raise ServerError(f"no memory on this machine for the network: {error}") from error
        return made

    def prepare(self, spec: ModelSpec) -> None:
        """Compile the architecture that a model's first version will most likely have.

        A task without an architecture is still served by persistence.
        """
        with suppress(DataError):
            family = family_named(spec.recipe)
            self._runtime(family, family.architecture(spec))

    def _runtime(self, family: ModelFamily[Any], architecture: Any) -> Runtime:
        if architecture not in self._built:
            self._built[architecture] = family.runtime(architecture)
        return self._built[architecture]


def _check(made: Forecaster, spec: ModelSpec) -> None:
    """Check that forecasts are finite numbers of the task's shape, in every batch size."""
    sensors = len(spec.sensors)
    lively = np.random.default_rng(0).standard_normal((max(SIZES), spec.window, sensors))
    for size in SIZES:
        present = np.ones((size, sensors), np.bool_)
        for scale in (0, 1):
            output = made((scale * lively[:size]).astype(np.float32), present)
            if output.shape != (size, spec.steps, len(spec.target_names)):
                raise DataError(f"a forecast has shape {output.shape[1:]}, which is not its task's")
            if not np.isfinite(output).all():
                raise DataError("the network makes forecasts that are not finite")
