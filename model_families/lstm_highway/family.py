"""Implements the port with forecaster, fit and runtime; TensorFlow is imported where it runs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from millrace.contracts.errors import DataError
from millrace.contracts.model_spec import ModelSpec
from millrace.contracts.normaliser import Normaliser
from millrace.model_families.examples import Bools, Examples, Float32
from millrace.model_families.family import (
    FitSettings,
    Fitted,
    ModelFamily,
    Runtime,
    Start,
    Weights,
)
from millrace.model_families.lstm_highway.forecaster import (
    KIND,
    Architecture,
    architecture_of,
    read_architecture,
    rescale,
)


class LstmHighway(ModelFamily[Architecture]):
    """An LSTM beside a linear highway, see `forecaster`."""

    kind = KIND

    def architecture(self, spec: ModelSpec) -> Architecture:
        """Choose the network for a task."""
        return architecture_of(spec)

    def read(self, values: Mapping[str, Any]) -> Architecture:
        """Read an artefact's architecture."""
        return read_architecture(values)

    def check(self, architecture: Architecture, spec: ModelSpec) -> None:
        """Check that a network matches a task."""
        a = architecture
        if (a.window, a.sensors) != (spec.window, len(spec.sensors)):
            raise DataError(f"the network reads {a.window} x {a.sensors} readings")
        if a.targets != spec.target_columns:
            raise DataError(f"the network forecasts columns {a.targets}, not its task's")

    def fit(
        self,
        architecture: Architecture,
        train: Examples,
        validation: Examples,
        settings: FitSettings,
        start: Start | None,
    ) -> Fitted:
        """Solve the highway, then train the LSTM on its residuals."""
        from millrace.model_families.lstm_highway.fit import fit  # noqa: PLC0415  (TensorFlow)

        return fit(architecture, train, validation, settings, start)

    def rescale(
        self, architecture: Architecture, weights: Weights, old: Normaliser, new: Normaliser
    ) -> Weights:
        """Convert weights to other units, exactly."""
        return rescale(architecture, weights, old, new)

    def runtime(self, architecture: Architecture) -> Runtime:
        """Trace the network for every batch size."""
        from millrace.model_families.lstm_highway.runtime import Network  # noqa: PLC0415  (likewise)

        return Network(architecture)

    def forecast(
        self, architecture: Architecture, weights: Weights, values: Float32, present: Bools
    ) -> Float32:
        """Forecast with the Keras network, without tracing all sizes."""
        from millrace.model_families.lstm_highway.fit import forecast  # noqa: PLC0415  (likewise)

        return forecast(architecture, weights, values, present.astype(np.float32))

    def prepare_fit(self) -> None:
        """Load TensorFlow, and make it deterministic."""
        from millrace.model_families.lstm_highway.fit import prepare  # noqa: PLC0415  (likewise)

        prepare()

    def prepare_serving(self) -> None:
        """Limit TensorFlow to one thread."""
        from millrace.model_families.lstm_highway.runtime import (  # noqa: PLC0415  (likewise)
            use_one_thread,
        )

        use_one_thread()

    @property
    def memory_errors(self) -> tuple[type[Exception], ...]:
        """TensorFlow's own exception."""
        from tensorflow.errors import ResourceExhaustedError  # noqa: PLC0415  (likewise)

        return (MemoryError, ResourceExhaustedError)
