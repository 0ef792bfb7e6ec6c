"""Every model family: from a task to a forecast, repeatably, window by window, in any units.

A family of your own is added to `FAMILIES`.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import msgspec
import numpy as np
import pytest

from millrace.contracts.errors import DataError
from millrace.contracts.model_spec import ModelSpec
from millrace.contracts.normaliser import Normaliser
from millrace.inference.serving.networks import Networks
from millrace.model_families.examples import Bools, Examples, Float32
from millrace.model_families.family import FitSettings, Fitted, ModelFamily, Start
from millrace.model_families.known import FAMILIES as KNOWN
from millrace.model_families.known import family_named, family_of
from tests.builders import pump_spec
from tests.conformance.pages import example

FAMILIES: dict[str, ModelFamily[Any]] = {
    **KNOWN,
    "mean-reversion-1": example("model_families.md").MeanReversion(),
}
each = pytest.mark.parametrize("kind", FAMILIES)
SPEC = pump_spec(window=6, horizon=3)
SETTINGS = FitSettings(max_epochs=2, batch=32)
COUNT = 300


@pytest.fixture(scope="module", autouse=True)
def prepared() -> None:
    """Libraries repeat themselves, as in a run."""
    for family in FAMILIES.values():
        family.prepare_fit()


def examples(seed: int, count: int = COUNT) -> Examples:
    """Seeded windows of sensors that return to their mean, some absent or unknown."""
    rng = np.random.default_rng(seed)
    sensors, targets = len(SPEC.sensors), list(SPEC.target_columns)
    x = rng.normal(0, 1, (count, SPEC.window, sensors)).astype(np.float32)
    present = (rng.random((count, sensors)) < 0.9).astype(np.float32)
    x *= present[:, None, :]
    last = x[:, -1, targets]
    goal = last + 0.5 * (x[:, :, targets].mean(axis=1) - last)
    y = np.repeat(goal[:, None, :], SPEC.steps, axis=1).astype(np.float32)
    return Examples(x, present, y, present[:, targets], np.ones(count, np.float32))


TRAIN, VALIDATION, LATER = examples(1), examples(2, 80), examples(3, 90)
WINDOWS: Float32 = LATER.x
PRESENT: Bools = LATER.present > 0


@cache
def fitted(kind: str) -> Fitted:
    """A fit."""
    family = FAMILIES[kind]
    return family.fit(family.architecture(SPEC), TRAIN, VALIDATION, SETTINGS, None)


@cache
def runtime(kind: str) -> Any:
    """The runtime of the task's architecture."""
    family = FAMILIES[kind]
    return family.runtime(family.architecture(SPEC))


@each
def test_an_architecture_is_plain_and_names_its_family(kind: str) -> None:
    """It goes through JSON, and is read back equal; it fits its task, and no other."""
    family = FAMILIES[kind]
    architecture = family.architecture(SPEC)
    values = msgspec.json.decode(msgspec.json.encode(architecture))
    assert values["kind"] == kind == family.kind
    assert family.read(values) == architecture
    assert hash(family.read(values)) == hash(architecture)
    family.check(architecture, SPEC)
    for other in (pump_spec(window=7, horizon=3), pump_spec(window=6, targets=("flow",))):
        with pytest.raises(DataError):
            family.check(architecture, other)


@each
@pytest.mark.parametrize(
    "spoil", [{"window": -1}, {"window": "x"}, {"targets": "all"}, {"code": "import os"}]
)
def test_what_is_no_architecture_is_refused(kind: str, spoil: dict[str, Any]) -> None:
    """Artefacts are untrusted."""
    family = FAMILIES[kind]
    values = {**msgspec.to_builtins(family.architecture(SPEC)), **spoil}
    if spoil == {"window": -1} and kind == "mean-reversion-1":
        with pytest.raises(DataError):
            family.check(family.read(values), SPEC)
        return
    with pytest.raises(DataError):
        family.read(values)


@each
def test_a_fit_beats_persistence_where_there_is_something_to_learn(kind: str) -> None:
    """On windows that it has not seen."""
    family = FAMILIES[kind]
    forecast = family.forecast(family.architecture(SPEC), fitted(kind).weights, WINDOWS, PRESENT)
    known = LATER.known[:, None, :]
    last = WINDOWS[:, -1:, list(SPEC.target_columns)]
    assert np.abs((forecast - LATER.y) * known).sum() < np.abs((last - LATER.y) * known).sum()


@each
def test_the_same_fit_gives_the_same_bits(kind: str) -> None:
    """Weights, optimizer and figures; a warm start does, too."""
    family = FAMILIES[kind]
    architecture = family.architecture(SPEC)
    first = fitted(kind)
    again = family.fit(architecture, TRAIN, VALIDATION, SETTINGS, None)
    warm = [
        family.fit(architecture, TRAIN, VALIDATION, SETTINGS, Start(first.weights, first.optimizer))
        for _ in range(2)
    ]
    for one, two in ((first, again), (warm[0], warm[1])):
        assert {n: w.tobytes() for n, w in one.weights.items()} == {
            n: w.tobytes() for n, w in two.weights.items()
        }
        assert one.figures == two.figures
    assert {w.dtype.name for w in first.weights.values()} == {"float32"}
    msgspec.json.encode(first.figures)


@each
@pytest.mark.parametrize("count", [1, 7, 9, 65])
def test_a_forecast_does_not_depend_on_neighbours(kind: str, count: int) -> None:
    """Shape, type and every bit of a window's forecast are those that it has alone."""
    forecaster = runtime(kind).load(fitted(kind).weights)
    together = forecaster(WINDOWS[:count], PRESENT[:count])
    assert together.shape == (count, SPEC.steps, len(SPEC.target_names))
    assert together.dtype == np.float32
    assert np.isfinite(together).all()
    alone = np.concatenate(
        [forecaster(WINDOWS[i : i + 1], PRESENT[i : i + 1]) for i in range(count)]
    )
    np.testing.assert_array_equal(together, alone)


@each
def test_serving_forecasts_what_the_gate_has_judged(kind: str) -> None:
    """Runtime and one-off forecast are the same function."""
    family = FAMILIES[kind]
    served = runtime(kind).load(fitted(kind).weights)(WINDOWS, PRESENT)
    judged = family.forecast(family.architecture(SPEC), fitted(kind).weights, WINDOWS, PRESENT)
    np.testing.assert_allclose(served, judged, rtol=1e-4, atol=1e-5)


@each
def test_weights_of_another_architecture_are_refused(kind: str) -> None:
    """One is missing, one is too many, one has another shape."""
    weights = fitted(kind).weights
    name = next(iter(weights))
    few = {n: w for n, w in weights.items() if n != name}
    more = {**weights, "backdoor": np.zeros(3, np.float32)}
    bent = {**weights, name: np.zeros((2, 9, 2), np.float32)}
    for wrong in (few, more, bent):
        with pytest.raises(DataError):
            runtime(kind).load(wrong)


@each
def test_rescaled_weights_forecast_the_same_readings(kind: str) -> None:
    """In other units, and with other means."""
    family = FAMILIES[kind]
    architecture = family.architecture(SPEC)
    sensors = len(SPEC.sensors)
    old = Normaliser(tuple(range(sensors)), (1.0,) * sensors)
    new = Normaliser((0.0,) * sensors, tuple(0.5 + n for n in range(sensors)))
    moved = family.rescale(architecture, fitted(kind).weights, old, new)
    readings = WINDOWS * np.array(old.scale, "f4") + np.array(old.mean, "f4")
    seen = np.ones_like(PRESENT)

    def physical(units: Normaliser, weights: Any) -> Float32:
        values = units.apply(readings, seen)
        made = family.forecast(architecture, weights, values, seen)
        return units.restore(made, SPEC.target_columns)

    np.testing.assert_allclose(
        physical(new, moved), physical(old, fitted(kind).weights), rtol=1e-3, atol=2e-3
    )


def test_a_family_is_added_by_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    """The page's family serves through the replica's own door, named by its artefact alone."""
    toy = FAMILIES["mean-reversion-1"]
    monkeypatch.setitem(KNOWN, toy.kind, toy)
    spec = msgspec.structs.replace(SPEC, recipe=toy.kind)
    assert family_named(spec.recipe) is toy
    architecture = msgspec.to_builtins(toy.architecture(spec))
    assert family_of(architecture) is toy
    networks = Networks()
    networks.prepare(spec)
    forecaster = networks.forecaster(architecture, fitted(toy.kind).weights, spec)
    assert forecaster(WINDOWS, PRESENT).shape == (len(WINDOWS), spec.steps, len(spec.target_names))


@pytest.mark.parametrize("kind", ["lstm-highway-9", "", None, 7])
def test_an_unknown_family_is_named_with_those_there_are(kind: Any) -> None:
    """An artefact of a later program is refused with what this one can read."""
    with pytest.raises(DataError, match="it has lstm-highway-1"):
        family_of({"kind": kind})


def test_a_model_spec_names_its_family() -> None:
    """Models that were declared before there was a choice have the default."""
    old = {k: v for k, v in msgspec.to_builtins(SPEC).items() if k != "recipe"}
    assert msgspec.convert(old, ModelSpec).recipe == "lstm-highway-1"
