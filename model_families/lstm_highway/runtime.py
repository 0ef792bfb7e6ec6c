"""One compiled function per architecture and batch size; a version is only its weights.

Tracing a network takes seconds and the interpreter's lock, which would be felt in the
latency of what serves meanwhile. So the compiled function takes the weights as arguments:
a version of a known architecture is swapped in without tracing anything.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import tensorflow as tf

from millrace.contracts.errors import DataError
from millrace.model_families.examples import Bools, Float32
from millrace.model_families.lstm_highway.forecaster import Architecture, build
from millrace.model_families.padding import SIZES, plan

#: From this batch size on a network is compiled by XLA. Measured: 2.4 ms against 3.6 ms for
#: 512 windows; on the small sizes it saves a quarter of a millisecond, beside a transaction of
#: several, and each size takes a second to compile before a replica that starts can serve.
COMPILED_FROM: Final = 512
#: By default XLA splits a run between two threads, which hand it to each other step by step:
#: measured, a third more processor time. The numbers are the same, bit for bit.
_XLA_FLAGS: Final = "--xla_cpu_enable_concurrency_optimized_scheduler=false"


def use_one_thread() -> None:
    """Let TensorFlow use one thread, before it has run anything: the machine has other work."""
    tf.config.threading.set_intra_op_parallelism_threads(1)
    tf.config.threading.set_inter_op_parallelism_threads(1)
    # XLA has no other setting for it; it reads this when it first compiles.
    os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} {_XLA_FLAGS}".strip()


class Network:
    """An architecture, traced or compiled for every batch size."""

    def __init__(self, architecture: Architecture) -> None:
        """Build, trace and compile; takes seconds."""
        model = build(architecture)
        self._shape = (architecture.window, architecture.sensors)
        self._wanted = {v.path: tuple(v.shape) for v in model.weights}
        self._order = [v.path for v in model.trainable_variables]
        # What is neither learned nor saved (the state of unused random seeds) stays the model's.
        rest = [tf.constant(v.numpy()) for v in model.non_trainable_variables]

        def run(weights: list[tf.Tensor], values: tf.Tensor, present: tf.Tensor) -> tf.Tensor:
            output, _ = model.stateless_call(weights, rest, [values, present], training=False)
            return output

        learned = [tf.TensorSpec(self._wanted[name], tf.float32) for name in self._order]

        def concrete(size: int | None, *, compiled: bool) -> Any:
            return tf.function(
                run, autograph=False, jit_compile=compiled or None
            ).get_concrete_function(
                learned,
                tf.TensorSpec((size, *self._shape), tf.float32),
                tf.TensorSpec((size, self._shape[1]), tf.float32),
            )

        small = concrete(None, compiled=False)  # one trace serves all of them
        self._run = {
            size: concrete(size, compiled=True) if size >= COMPILED_FROM else small
            for size in SIZES
        }
        # XLA compiles when a function first runs: now, not under the first version's windows.
        nothing = {name: np.zeros(shape, np.float32) for name, shape in self._wanted.items()}
        for size in SIZES:
            self(
                self.take(nothing),
                np.zeros((size, *self._shape), np.float32),
                np.ones((size, self._shape[1]), np.bool_),
            )

    def take(self, weights: Mapping[str, Float32]) -> list[tf.Tensor]:
        """Convert a version's weights for the compiled functions.

        Raises:
            DataError: They are not this architecture's.
        """
        given = {name: tuple(w.shape) for name, w in weights.items()}
        if given != self._wanted:
            raise DataError(f"weights {given} are not those of their network, {self._wanted}")
        return [tf.constant(weights[name], tf.float32) for name in self._order]

    def load(self, weights: Mapping[str, Float32]) -> Trained:
        """Make a version of this network."""
        return Trained(self, self.take(weights))

    def __call__(self, weights: list[tf.Tensor], values: Float32, present: Bools) -> Float32:
        """Run any number of windows, padded to traced sizes."""
        parts = []
        for start, stop, size in plan(len(values)):
            count = stop - start
            block, shown = values[start:stop], present[start:stop].astype(np.float32)
            if count < size:
                block = np.concatenate([block, np.zeros((size - count, *self._shape), "f4")])
                shown = np.concatenate([shown, np.zeros((size - count, shown.shape[1]), "f4")])
            output = self._run[size](weights, tf.constant(block), tf.constant(shown))
            parts.append(output.numpy()[:count])
        return parts[0] if len(parts) == 1 else np.concatenate(parts)


@dataclass(frozen=True)
class Trained:
    """A trained version: a network and its weights."""

    network: Network
    weights: list[tf.Tensor]

    def __call__(self, values: Float32, present: Bools) -> Float32:
        """Forecast; see `Forecaster`."""
        return self.network(self.weights, values, present)
