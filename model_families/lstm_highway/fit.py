"""Fits the network to examples; returns weights, optimizer state and history.

The highway is solved in closed form first (see `highway`); then the LSTM and its head learn the
highway's residuals, by AdamW on the mean absolute error, until the validation error has not fallen
for `FitSettings.patience` epochs. The best epoch's weights are kept, and epoch 0 is one of them:
the network with the new highway and, on a warm start, the old LSTM. That combination may be worse
than the serving version, whose LSTM was fitted to another highway: only the gate decides whether
the challenger is better.

Deterministic: the same examples, settings and start give the same bits on the same machine
with the same packages. `prepare` has to be called before TensorFlow does anything else.
"""

import os
from typing import Any

import msgspec
import numpy as np
import structlog

from millrace.contracts.errors import DataError
from millrace.model_families.examples import Examples, Float32
from millrace.model_families.family import FitSettings, Fitted, Start, Tensors, Weights
from millrace.model_families.lstm_highway.forecaster import (
    HIGHWAY,
    Architecture,
    build,
    set_weights,
    value_of,
    weights_of,
)
from millrace.model_families.lstm_highway.highway import solve_highway

_FORECAST_BATCH = 512
_log = structlog.get_logger(__name__)


class Epoch(msgspec.Struct, frozen=True):
    """One pass over the examples.

    Attributes:
        training: Mean absolute training error, weighted; None for epoch 0, before any step.
        validation: Mean absolute validation error, standard deviations.
    """

    training: float | None
    validation: float


def prepare(threads: int = 1) -> None:
    """Make TensorFlow deterministic; call once, before anything else uses it.

    Args:
        threads: Threads within and between operations; more than 1 is still deterministic,
            but gives other bits.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "0")
    import tensorflow as tf  # noqa: PLC0415  (after its environment is set)

    tf.config.threading.set_intra_op_parallelism_threads(threads)
    tf.config.threading.set_inter_op_parallelism_threads(threads)
    tf.config.experimental.enable_op_determinism()


def fit(
    architecture: Architecture,
    train: Examples,
    validation: Examples,
    settings: FitSettings,
    start: Start | None = None,
) -> Fitted:
    """Fit the network.

    Args:
        architecture: The network to fit.
        train: Training examples.
        validation: Examples for early stopping; shares no sample with ``train``.
        settings: Settings of the fit.
        start: The serving version; None starts afresh.

    Raises:
        DataError: There are no usable examples, or the fit has diverged.
    """
    if not len(train) or not validation.known.any():
        raise DataError(
            f"{len(train)} examples to learn from and {len(validation)} to validate on:"
            " wait for more windows with truth"
        )
    import keras  # noqa: PLC0415  (TensorFlow, seconds: only where something is fitted)

    keras.utils.set_random_seed(settings.seed)
    model = build(architecture, dropout=settings.dropout)
    if start is not None:
        set_weights(model, start.weights)
    kernel, penalty = solve_highway(architecture, train, validation, settings.penalties)
    model.get_layer("highway").kernel.assign(kernel)
    loop = _Loop(model, settings)
    if start is not None and start.optimizer is not None:
        loop.restore(start.optimizer)
    return loop.run(train, validation, penalty)


def forecast(architecture: Architecture, weights: Weights, x: Float32, present: Float32) -> Float32:
    """Forecast with given weights.

    Args:
        architecture: The network.
        weights: Its variables.
        x: float32 of shape (n, window, sensors), normalised.
        present: float32 of shape (n, sensors).

    Returns:
        float32 of shape (n, steps, targets), normalised.
    """
    model = build(architecture)
    set_weights(model, weights)
    return _forecast(_compiled(model), x, present)


class _Loop:
    """Epochs over one network."""

    def __init__(self, model: Any, settings: FitSettings) -> None:
        import keras  # noqa: PLC0415  (as in `fit`)
        import tensorflow as tf  # noqa: PLC0415  (as in `fit`)

        self._model = model
        self._settings = settings
        learned = [v for v in model.trainable_variables if v.path != HIGHWAY]
        self._optimizer = keras.optimizers.AdamW(
            settings.learning_rate,
            weight_decay=settings.weight_decay,
            clipnorm=settings.clip_norm,
            name="adamw",  # its variables' names are the artefact's
        )
        self._optimizer.build(learned)
        self._call = _compiled(model)

        def step(x: Any, present: Any, y: Any, known: Any, weight: Any) -> Any:
            with tf.GradientTape() as tape:
                error = tf.abs(model([x, present], training=True) - y)
                counted = known[:, None, :] * weight[:, None, None]
                entries = tf.reduce_sum(known) * float(model.output.shape[1])
                loss = tf.reduce_sum(error * counted) / tf.maximum(entries, 1.0)
            variables = [v.value for v in learned]
            self._optimizer.apply(tape.gradient(loss, variables), learned)
            return loss

        self._step = tf.function(step, reduce_retracing=True)

    def restore(self, state: Tensors) -> None:
        """Continue with another fit's moments; start afresh if they do not match this network.

        They may belong to another optimizer, or to a release that named or shaped them differently:
        moments save a few steps, so a mismatch must not fail the run.
        """
        own = {v.path: tuple(v.shape) for v in self._optimizer.variables}
        if own != {name: value.shape for name, value in state.items()}:
            _log.warning("the optimizer starts afresh: its state is of another network")
            return
        for variable in self._optimizer.variables:
            variable.assign(state[variable.path])

    def run(self, train: Examples, validation: Examples, penalty: float) -> Fitted:
        """Run epochs until the validation error has stopped falling."""
        settings = self._settings
        rng = np.random.default_rng(settings.seed)
        weight = train.weight / train.weight.mean()
        per_epoch = -(-len(train) // settings.batch)
        epochs = max(1, min(settings.max_epochs, settings.max_steps // per_epoch))
        history = [Epoch(None, self._validate(validation))]
        best, kept = 0, self._snapshot()
        done = 0
        for epoch in range(1, epochs + 1):
            # Whole batches only: the last one is filled with examples from the start of the order.
            order = np.resize(rng.permutation(len(train)), per_epoch * settings.batch)
            losses = []
            for rows in order.reshape(per_epoch, settings.batch):
                falling = 0.5 * (1 + np.cos(np.pi * done / (epochs * per_epoch)))
                self._optimizer.learning_rate.assign(
                    settings.learning_rate * (0.05 + 0.95 * falling)
                )
                part = train.take(rows)
                losses.append(self._step(part.x, part.present, part.y, part.known, weight[rows]))
                done += 1
            history.append(Epoch(float(np.mean(losses)), self._validate(validation)))
            if history[epoch].validation < history[best].validation:
                best, kept = epoch, self._snapshot()
            elif epoch - best >= settings.patience:
                break
        figures = {
            "history": msgspec.to_builtins(history),
            "best_epoch": best,
            "penalty": penalty,
        }
        return Fitted(*kept, figures)

    def _validate(self, examples: Examples) -> float:
        got = _forecast(self._call, examples.x, examples.present)
        error = np.abs(got - examples.y) * examples.known[:, None, :]
        mean = float(error.sum() / (examples.known.sum() * got.shape[1]))
        if not np.isfinite(mean):
            raise DataError("the fit has diverged: its validation error is not finite")
        return mean

    def _snapshot(self) -> tuple[Weights, Tensors]:
        state = {v.path: value_of(v) for v in self._optimizer.variables}
        return weights_of(self._model), state


def _compiled(model: Any) -> Any:
    import tensorflow as tf  # noqa: PLC0415  (as in `fit`)

    return tf.function(lambda x, p: model([x, p], training=False), reduce_retracing=True)


def _forecast(call: Any, x: Float32, present: Float32) -> Float32:
    parts = [
        np.asarray(call(x[at : at + _FORECAST_BATCH], present[at : at + _FORECAST_BATCH]))
        for at in range(0, len(x), _FORECAST_BATCH)
    ]
    return np.concatenate(parts)
