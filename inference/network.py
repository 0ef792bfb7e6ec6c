"""One compiled function per architecture and batch size; a version is only its weights.

Tracing a network takes seconds and the interpreter's lock, which would be felt in the
latency of what serves meanwhile. So the compiled function takes the weights as arguments:
a version of a known architecture is swapped in without tracing anything.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import tensorflow as tf

from contracts.errors import DataError
from contracts.model_spec import ModelSpec
from inference.batches import SIZES, plan
from inference.servables import Bools, Float32
from infra.forecaster import Architecture, build


class Network:
    """An architecture, traced for every batch size."""

    def __init__(self, architecture: Architecture, spec: ModelSpec) -> None:
        """Build and trace; takes seconds."""
        self._model = build(architecture)
        self._shape = (spec.window, len(spec.sensors))
        self.weight_shapes = [tuple(w.shape) for w in self._model.weights]
        trainable = len(self._model.trainable_variables)

        @tf.function(autograph=False)
        def run(weights: list[tf.Tensor], values: tf.Tensor, present: tf.Tensor) -> tf.Tensor:
            output, _ = self._model.stateless_call(
                weights[:trainable], weights[trainable:], [values, present], training=False
            )
            return output

        self._run = {size: self._trace(run, size) for size in SIZES}

    def _trace(self, run: Any, size: int) -> Any:
        weights = [tf.TensorSpec(shape, tf.float32) for shape in self._ordered_shapes()]
        return run.get_concrete_function(
            weights,
            tf.TensorSpec((size, *self._shape), tf.float32),
            tf.TensorSpec((size, self._shape[1]), tf.float32),
        )

    def _ordered_shapes(self) -> list[tuple[int, ...]]:
        variables = [*self._model.trainable_variables, *self._model.non_trainable_variables]
        return [tuple(v.shape) for v in variables]

    def order(self, weights: Sequence[Float32]) -> list[tf.Tensor]:
        """Put weights, in the model's order, into the compiled function's.

        Raises:
            DataError: They are not this architecture's.
        """
        if [tuple(w.shape) for w in weights] != self.weight_shapes:
            raise DataError("the weights' shapes are not those of their architecture")
        by_variable = {
            id(variable): weight
            for variable, weight in zip(self._model.weights, weights, strict=True)
        }
        variables = [*self._model.trainable_variables, *self._model.non_trainable_variables]
        return [tf.constant(by_variable[id(v)], tf.float32) for v in variables]

    def __call__(self, weights: list[tf.Tensor], values: Float32, present: Bools) -> Float32:
        """Run any number of windows, padded to traced sizes."""
        parts = []
        for start, stop, size in plan(len(values)):
            count = stop - start
            block = np.zeros((size, *self._shape), np.float32)
            shown = np.zeros((size, self._shape[1]), np.float32)
            block[:count], shown[:count] = values[start:stop], present[start:stop]
            output = self._run[size](weights, tf.constant(block), tf.constant(shown))
            parts.append(output.numpy()[:count])
        return np.concatenate(parts)


@dataclass(frozen=True)
class Trained:
    """A trained version: a network and its weights."""

    network: Network
    weights: list[tf.Tensor]

    def __call__(self, values: Float32, present: Bools) -> Float32:
        """Forecast; see `Forecaster`."""
        return self.network(self.weights, values, present)


class Networks:
    """Traced networks by architecture; owned by the loader."""

    def __init__(self) -> None:
        """Let TensorFlow use one thread: the machine has other work."""
        tf.config.threading.set_intra_op_parallelism_threads(1)
        tf.config.threading.set_inter_op_parallelism_threads(1)
        self._traced: dict[tuple[Architecture, str], Network] = {}

    def forecaster(
        self, architecture: Architecture, weights: Mapping[str, Float32], spec: ModelSpec
    ) -> Trained:
        """Make a version ready to forecast.

        Args:
            architecture: How the network is built.
            weights: Its weights, in the network's order.
            spec: What it reads and forecasts.

        Raises:
            DataError: The weights do not fit, or the forecasts of a calm and of a lively
                window are not finite numbers of the right shape.
        """
        network = self._network(architecture, spec)
        made = Trained(network, network.order(list(weights.values())))
        shape = (max(SIZES), spec.window, len(spec.sensors))
        lively = np.random.default_rng(0).standard_normal(shape).astype(np.float32)
        present = np.ones((shape[0], shape[2]), np.bool_)
        for size in SIZES:
            for values in (np.zeros_like(lively[:size]), lively[:size]):
                output = made(values, present[:size])
                if output.shape != (size, spec.steps, len(spec.target_names)):
                    raise DataError(f"a forecast has shape {output.shape[1:]}, which is not its task's")
                if not np.isfinite(output).all():
                    raise DataError("the network makes forecasts that are not finite")
        return made

    def _network(self, architecture: Architecture, spec: ModelSpec) -> Network:
        key = (architecture, spec.sensor_set)
        if key not in self._traced:
            self._traced[key] = Network(architecture, spec)
        return self._traced[key]
