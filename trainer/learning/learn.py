"""Fits a challenger on a dataset and evaluates it against the serving version.

Each step is a module: `trainer.data.split` selects the training, validation and hold-out windows,
the model family fits, `gate` decides. TensorFlow is imported where it is first needed, so that the
trainer's main process never loads it.
"""

from dataclasses import dataclass
from typing import Any, Literal

import msgspec
import numpy as np
import numpy.typing as npt

from millrace.contracts.events.training import HoldoutError
from millrace.contracts.model_spec import ModelSpec
from millrace.contracts.normaliser import Normaliser
from millrace.model_families.artefact import LoadedArtefact
from millrace.model_families.examples import Examples
from millrace.model_families.family import FitSettings, ModelFamily, Start, Weights
from millrace.model_families.known import family_named, family_of
from millrace.trainer.data.dataset import Dataset
from millrace.trainer.data.split import SplitSettings, split
from millrace.trainer.learning.gate import (
    GateSettings,
    HoldoutErrors,
    block_length,
    champion_fails,
    judge,
)

#: A standard deviation below this share of a sensor's level is float32 rounding noise ...
_NOISE = 1e-6
#: ... and this is the least scale of such a constant sensor, so that noise is not amplified.
_LEAST_SCALE = 1e-3


class LearnSettings(msgspec.Struct, frozen=True):
    """Settings of a fit and the gate; part of a run's record.

    Attributes:
        fit: Settings of the fit.
        split: Settings of the split.
        gate: Thresholds of the gate.
    """

    fit: FitSettings = FitSettings()
    split: SplitSettings = SplitSettings()
    gate: GateSettings = GateSettings()


@dataclass(frozen=True, eq=False)
class Learned:
    """A challenger and the gate's verdict.

    Attributes:
        architecture: Description from which the network is rebuilt.
        normaliser: Its units.
        weights: The network's variables, by name, in the network's order.
        optimizer: The optimizer's variables.
        verdict: The gate's verdict.
        detail: Its reasons.
        fall_back: Why the champion has failed and persistence should serve again; empty if not.
        holdout: Errors on the hold-out, in scales of the normaliser.
        figures: Key figures of the fit and the verdict for display, as plain values.
    """

    architecture: dict[str, Any]
    normaliser: Normaliser
    weights: Weights
    optimizer: dict[str, npt.NDArray[Any]]
    verdict: Literal["approved", "rejected"]
    detail: str
    fall_back: str
    holdout: HoldoutError
    figures: dict[str, Any]


def learn(
    data: Dataset,
    spec: ModelSpec,
    champion: LoadedArtefact | None,
    settings: LearnSettings,
    since_ms: int | None = None,
) -> Learned:
    """Fit a challenger and evaluate it.

    Args:
        data: Windows with their truth.
        spec: The model.
        champion: The serving version; None for persistence.
        settings: Settings of fit, split and gate.
        since_ms: Event time of the drift that triggered the run; None for other triggers.

    `ModelFamily.prepare_fit` of the model's family has to be called before.

    Raises:
        DataError: There is too little data, or the fit has diverged.
    """
    rows = split(data.asset, data.start_ms, data.until_ms, settings.split, since_ms)
    normaliser = fit_normaliser(data.take(rows.train), len(spec.sensors))
    family = family_named(spec.recipe)
    architecture = family.architecture(spec)
    every = examples_of(data, spec, normaliser)
    fitted = family.fit(
        architecture,
        every.take(rows.train),
        every.take(rows.validation),
        settings.fit,
        _start(family, architecture, champion, normaliser),
    )
    holdout, judged = every.take(rows.holdout), data.take(rows.holdout)
    persistence = np.repeat(holdout.x[:, -1:, list(spec.target_columns)], spec.steps, axis=1)
    served = persistence if champion is None else _forecast_of(champion, judged, spec, normaliser)
    errors = HoldoutErrors(
        window_errors(
            family.forecast(architecture, fitted.weights, holdout.x, holdout.present != 0), holdout
        ),
        window_errors(served, holdout),
        window_errors(persistence, holdout),
        judged.asset,
        frozenset(str(name) for name in np.unique(data.asset)),
    )
    block = block_length(spec)
    verdict = judge(errors, settings.gate, block=block)
    fails = "" if verdict.approved else champion_fails(errors, settings.gate, block=block)
    return Learned(
        msgspec.to_builtins(architecture),
        normaliser,
        fitted.weights,
        fitted.optimizer,
        "approved" if verdict.approved else "rejected",
        verdict.detail,
        fails,
        HoldoutError(verdict.challenger, verdict.champion, verdict.persistence),
        {
            "verdict": msgspec.to_builtins(verdict),
            **fitted.figures,
            "rows": {name: len(getattr(rows, name)) for name in ("train", "validation", "holdout")},
        },
    )


def fit_normaliser(data: Dataset, sensors: int) -> Normaliser:
    """Fit the units of a version: mean and standard deviation of each sensor where present.

    Args:
        data: Training data of the version.
        sensors: Number of sensors; one that is never present gets physical units.
    """
    mean, scale = [0.0] * sensors, [1.0] * sensors
    for sensor in range(sensors):
        values = data.x[data.present[:, sensor], :, sensor].astype(np.float64)
        if values.size:
            mean[sensor] = float(values.mean())
            spread, noise = float(values.std()), _NOISE * max(1.0, abs(mean[sensor]))
            scale[sensor] = spread if spread > noise else max(_LEAST_SCALE, noise)
    return Normaliser(tuple(mean), tuple(scale))


def examples_of(data: Dataset, spec: ModelSpec, normaliser: Normaliser) -> Examples:
    """Convert a dataset to a version's units; all windows have equal weight."""
    return Examples(
        normaliser.apply(data.x, data.present),
        data.present.astype(np.float32),
        _normalised(data.y, spec, normaliser),
        data.known.astype(np.float32),
        np.ones(len(data), np.float32),
    )


def _normalised(
    values: npt.NDArray[np.float32], spec: ModelSpec, normaliser: Normaliser
) -> npt.NDArray[np.float32]:
    columns = list(spec.target_columns)
    mean, scale = np.array(normaliser.mean)[columns], np.array(normaliser.scale)[columns]
    scaled: npt.NDArray[np.float64] = (values.astype(np.float64) - mean) / scale
    return scaled.astype(np.float32)


def _start(
    family: ModelFamily[Any],
    architecture: Any,
    champion: LoadedArtefact | None,
    normaliser: Normaliser,
) -> Start | None:
    """Begin from the serving version, if it is of the same family and architecture."""
    if champion is None or family_of(champion.architecture) is not family:
        return None
    if family.read(champion.architecture) != architecture:
        return None
    weights = family.rescale(architecture, champion.weights, champion.normaliser, normaliser)
    return Start(weights, champion.optimizer)


def _forecast_of(
    champion: LoadedArtefact, data: Dataset, spec: ModelSpec, normaliser: Normaliser
) -> npt.NDArray[np.float32]:
    """Forecast with the serving version in its own units, then convert to the new units."""
    own = champion.normaliser
    family = family_of(champion.architecture)
    architecture = family.read(champion.architecture)
    got = family.forecast(
        architecture, champion.weights, own.apply(data.x, data.present), data.present
    )
    return _normalised(own.restore(got, spec.target_columns), spec, normaliser)


def window_errors(got: npt.NDArray[np.float32], truth: Examples) -> npt.NDArray[np.float64]:
    """Mean absolute error of each window over its known targets, float64 of shape (n,)."""
    known = truth.known.astype(np.float64)
    error = np.abs(got.astype(np.float64) - truth.y).mean(axis=1)
    means: npt.NDArray[np.float64] = (error * known).sum(axis=1) / known.sum(axis=1)
    return means
