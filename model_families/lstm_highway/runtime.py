"""One compiled function per architecture and batch size; a version is only its weights.

Guarantee: a forecast depends on its window and its version alone, to the last bit, and not on
what shares its batch, on one type of processor with one version of TensorFlow. Within one
compiled function every row is computed alike, and batch sizes are used only if they agree with
the largest one, which is tried when the network is built (`_agreeing`).

Tracing a network takes seconds and the interpreter's lock, which would be felt in the
latency of what serves meanwhile. So the compiled function takes the weights as arguments:
a version of a known architecture is swapped in without tracing anything.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import structlog
import tensorflow as tf

from millrace.contracts.errors import DataError
from millrace.model_families.examples import Bools, Float32
from millrace.model_families.lstm_highway.forecaster import Architecture, build
from millrace.model_families.padding import SIZES, plan

#: By default XLA splits a run between two threads, which hand it to each other step by step:
#: measured, a third more processor time. The numbers are the same, bit for bit.
_XLA_FLAGS: Final = "--xla_cpu_enable_concurrency_optimized_scheduler=false"
#: By how many places a batch is turned to find whether a forecast depends on its place, and how
#: large random weights and readings are, and what share of sensors is present.
_TURN: Final = 37
_SPREAD: Final = 0.5
_PRESENT: Final = 0.9

_log = structlog.get_logger(__name__)


def use_one_thread() -> None:
    """Limit TensorFlow to one thread, before its first use: other processes share the machine."""
    tf.config.threading.set_intra_op_parallelism_threads(1)
    tf.config.threading.set_inter_op_parallelism_threads(1)
    # XLA has no other setting for it; it reads this one when it first compiles.
    os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} {_XLA_FLAGS}".strip()


class Network:
    """An architecture, traced or compiled for every batch size."""

    def __init__(self, architecture: Architecture) -> None:
        """Build, trace and compile; takes seconds."""
        model = build(architecture)
        self._shape = (architecture.window, architecture.sensors)
        self._wanted = {v.path: tuple(v.shape) for v in model.weights}
        self._order = [v.path for v in model.trainable_variables]
        # Variables that are neither trained nor saved (unused random seeds) become constants.
        rest = [tf.constant(v.numpy()) for v in model.non_trainable_variables]

        def run(weights: list[tf.Tensor], values: tf.Tensor, present: tf.Tensor) -> tf.Tensor:
            output, _ = model.stateless_call(weights, rest, [values, present], training=False)
            return output

        learned = [tf.TensorSpec(self._wanted[name], tf.float32) for name in self._order]

        def concrete(size: int) -> Any:
            return tf.function(run, autograph=False, jit_compile=True).get_concrete_function(
                learned,
                tf.TensorSpec((size, *self._shape), tf.float32),
                tf.TensorSpec((size, self._shape[1]), tf.float32),
            )

        # XLA compiles when a function first runs: now, not under the first version's windows.
        self._run = {size: concrete(size) for size in SIZES}
        self._sizes = self._agreeing()

    def take(self, weights: Mapping[str, Float32]) -> list[tf.Tensor]:
        """Convert a version's weights for the compiled functions.

        Raises:
            DataError: They do not match this architecture.
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
        return self._forecast(weights, values, present, self._sizes)

    def _forecast(
        self, weights: list[tf.Tensor], values: Float32, present: Bools, sizes: Sequence[int]
    ) -> Float32:
        parts = []
        for start, stop, size in plan(len(values), sizes):
            count = stop - start
            block, shown = values[start:stop], present[start:stop].astype(np.float32)
            if count < size:
                block = np.concatenate([block, np.zeros((size - count, *self._shape), "f4")])
                shown = np.concatenate([shown, np.zeros((size - count, shown.shape[1]), "f4")])
            output = self._run[size](weights, tf.constant(block), tf.constant(shown))
            parts.append(output.numpy()[:count])
        return parts[0] if len(parts) == 1 else np.concatenate(parts)

    def _agreeing(self) -> tuple[int, ...]:
        """Find the batch sizes that give the forecasts of the largest one, bit for bit.

        Random windows with random weights go through each, at other places of the batch.
        """
        rng = np.random.default_rng(0)
        weights = self.take(
            {name: _normal(rng, shape) for name, shape in sorted(self._wanted.items())}
        )
        values = _normal(rng, (SIZES[-1], *self._shape))
        present = rng.random((SIZES[-1], self._shape[1])) < _PRESENT
        wanted = self._forecast(weights, values, present, SIZES[-1:])

        def agrees(size: int) -> bool:
            turned = self._forecast(
                weights, np.roll(values, _TURN, axis=0), np.roll(present, _TURN, axis=0), (size,)
            )
            return np.array_equal(np.roll(turned, -_TURN, axis=0), wanted)

        *smaller, largest = SIZES
        if not agrees(largest):
            _log.warning("forecasts may differ in their last bits by their place", size=largest)
        used = [size for size in smaller if agrees(size)]
        if used != smaller:
            _log.warning("smaller batches differ in bits from the largest", used=used)
        return (*used, largest)


def _normal(rng: np.random.Generator, shape: tuple[int, ...]) -> Float32:
    return (_SPREAD * rng.standard_normal(shape)).astype(np.float32)


@dataclass(frozen=True)
class Trained:
    """A trained version: a network and its weights."""

    network: Network
    weights: list[tf.Tensor]

    def __call__(self, values: Float32, present: Bools) -> Float32:
        """Forecast; see `Forecaster`."""
        return self.network(self.weights, values, present)
