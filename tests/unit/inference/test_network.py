"""The compiled network: padding, weights as arguments, and what is refused."""

from collections.abc import Iterator
from functools import cache
from itertools import repeat
from typing import Any, cast

import msgspec
import numpy as np
import pytest
import tensorflow as tf

from millrace.contracts.errors import DataError
from millrace.contracts.model_spec import ModelSpec
from millrace.inference.serving.networks import Networks
from millrace.model_families.examples import Float32
from millrace.model_families.family import Weights
from millrace.model_families.lstm_highway.forecaster import (
    architecture_of,
    build,
    weights_of,
)
from millrace.model_families.lstm_highway.runtime import Network, Trained
from millrace.model_families.padding import SIZES
from tests.builders import pump_spec

SPEC = pump_spec(window=4, horizon=2)
ARCHITECTURE = msgspec.structs.replace(architecture_of(SPEC), units=3)
DESCRIBED: dict[str, Any] = msgspec.to_builtins(ARCHITECTURE)


@cache
def networks() -> Networks:
    """Networks that all tests share, so that one architecture is traced once."""
    return Networks()


def weights(seed: int) -> Weights:
    """Seeded weights of the small network."""
    rng = np.random.default_rng(seed)
    return {
        name: rng.normal(0, 0.3, value.shape).astype(np.float32)
        for name, value in weights_of(build(ARCHITECTURE)).items()
    }


def trained(seed: int) -> Trained:
    """A version with seeded weights."""
    return cast(Trained, networks().forecaster(DESCRIBED, weights(seed), SPEC))


def inputs(count: int) -> tuple[Any, Any]:
    """Seeded windows, some sensors absent."""
    rng = np.random.default_rng(count)
    present = rng.random((count, 3)) < 0.8
    values = rng.normal(size=(count, 4, 3)).astype(np.float32) * present[:, None, :]
    return values.astype(np.float32), present


@pytest.mark.parametrize("batch", [1, 7, 64, 128, 129, 512, 520])
def test_a_forecast_does_not_depend_on_its_batch(batch: int) -> None:
    """Every bit of it is that of its window alone, however the windows are grouped."""
    version = trained(1)
    values, present = inputs(1040)
    whole = version(values, present)
    count = min(len(values), 40 * batch)
    parts = [version(values[i : i + batch], present[i : i + batch]) for i in range(0, count, batch)]
    np.testing.assert_array_equal(np.concatenate(parts)[:count], whole[:count])


@pytest.mark.timeout(300)
def test_twenty_thousand_windows_have_the_same_forecasts_however_they_arrive() -> None:
    """The network that the trainer builds, batches of 1, 7, 64 and 512, and seeded mixed ones."""
    spec = pump_spec(window=60, horizon=1)
    architecture = architecture_of(spec)
    rng = np.random.default_rng(20)
    version = Network(architecture).load(
        {
            name: rng.normal(0, 0.3, value.shape).astype(np.float32)
            for name, value in weights_of(build(architecture)).items()
        }
    )
    count = 20_000
    present = rng.random((count, 3)) < 0.9
    values = rng.normal(size=(count, 60, 3)).astype(np.float32) * present[:, None, :]
    whole = version(values, present)

    def in_batches(sizes: Iterator[int]) -> Float32:
        parts, start = [], 0
        while start < count:
            stop = start + next(sizes)
            parts.append(version(values[start:stop], present[start:stop]))
            start = stop
        return np.concatenate(parts)

    for sizes in (repeat(1), repeat(7), repeat(64), repeat(512)):
        np.testing.assert_array_equal(in_batches(sizes), whole)
    mixed = (int(size) for size in rng.integers(1, 700, count))
    np.testing.assert_array_equal(in_batches(mixed), whole)


def test_a_batch_size_whose_forecasts_differ_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    """A size is tried when the network is built; the largest serves whatever comes of it."""
    network = Network(ARCHITECTURE)
    assert network._sizes == SIZES
    compiled = network._run[SIZES[0]]
    monkeypatch.setitem(
        network._run,
        SIZES[0],
        lambda *arguments: tf.math.nextafter(compiled(*arguments), np.inf),
    )
    assert network._agreeing() == SIZES[-1:]


def test_forecasts_are_those_of_the_model_itself() -> None:
    """The compiled function computes what Keras computes with the same weights."""
    model = build(ARCHITECTURE)
    for variable in model.weights:
        variable.assign(weights(2)[variable.path])
    values, present = inputs(8)
    theirs = np.array(model([values, present.astype(np.float32)]))
    np.testing.assert_allclose(trained(2)(values, present), theirs, rtol=1e-4, atol=1e-5)


def test_versions_share_a_network_and_keep_their_weights() -> None:
    """Two versions answer differently, in any order, and the second traces nothing."""
    first, second = trained(1), trained(2)
    assert first.network is second.network
    values, present = inputs(5)
    before = first(values, present)
    other = second(values, present)
    assert np.abs(before - other).max() > 1e-3
    np.testing.assert_array_equal(first(values, present), before)


def test_nothing_is_traced_while_serving(monkeypatch: pytest.MonkeyPatch) -> None:
    """A second version of an architecture, and batches of every length, call no layer again."""
    trained(1)
    traced: list[Any] = []
    monkeypatch.setattr(
        "keras.Model.stateless_call", lambda *arguments, **_: traced.append(arguments)
    )
    monkeypatch.setattr("millrace.model_families.lstm_highway.runtime.build", traced.append)
    version = trained(2)
    for count in (1, 7, 127, 128, 129, 511, 512, 513, 1025):
        assert version(*inputs(count)).shape == (count, 2, 2)
    assert not traced
    assert set(version.network._run) == set(SIZES)
    for function in version.network._run.values():
        # A concrete function cannot be traced again: it refuses other shapes.
        assert not hasattr(function, "get_concrete_function")


def test_every_size_is_compiled() -> None:
    """XLA makes one operation of the network; other kernels would give other bits."""
    for function in trained(1).network._run.values():
        assert "_XlaMustCompile" in dict(function.function_def.attr)


def test_weights_may_come_in_any_order() -> None:
    """Weights are matched by name: an artefact's order decides nothing."""
    reordered = dict(reversed(weights(1).items()))
    version = networks().forecaster(DESCRIBED, reordered, SPEC)
    values, present = inputs(3)
    np.testing.assert_array_equal(version(values, present), trained(1)(values, present))


def _renamed(given: Weights) -> Weights:
    return {f"other/{name}": value for name, value in given.items()}


def _misshapen(given: Weights) -> Weights:
    return {name: value[..., :-1] for name, value in given.items()}


def _short(given: Weights) -> Weights:
    return dict(list(given.items())[1:])


@pytest.mark.parametrize("spoil", [_renamed, _misshapen, _short])
def test_weights_of_another_network_are_refused(spoil: Any) -> None:
    """Missing, renamed or misshapen weights are no version."""
    with pytest.raises(DataError):
        networks().forecaster(DESCRIBED, spoil(weights(1)), SPEC)


@pytest.mark.parametrize("value", [np.nan, np.inf, 3e38])
def test_weights_that_make_no_finite_forecast_are_refused(value: float) -> None:
    """A version is tried on windows before anyone sees it."""
    spoiled = {name: np.full_like(w, value) for name, w in weights(1).items()}
    with pytest.raises(DataError, match="not finite"):
        networks().forecaster(DESCRIBED, spoiled, SPEC)


@pytest.mark.parametrize(
    "change",
    [
        {"window": 5},
        {"sensors": 4},
        {"steps": 1},
        {"targets": [2, 0]},
        {"targets": [0, 7]},
        {"units": 0},
        {"kind": "other"},
        {"layers": "os.system"},
    ],
)
def test_architectures_that_do_not_fit_are_refused(change: dict[str, Any]) -> None:
    """An artefact's architecture is untrusted: it must be ours, and its task's."""
    with pytest.raises(DataError):
        networks().forecaster({**DESCRIBED, **change}, weights(1), SPEC)


def test_a_task_too_large_for_a_network_is_served_by_persistence() -> None:
    """Preparing traces what will most likely be trained, and is no reason to refuse a task."""
    sensors = tuple(f"s{i}" for i in range(100))
    networks().prepare(ModelSpec("large", sensors, 1.0, window=900, horizon=600, stride=1))


def test_a_network_runs_nothing_on_no_windows() -> None:
    """An empty batch is a caller's mistake, and is told as one."""
    version = trained(1)
    with pytest.raises(ValueError, match="at least one array"):
        version(np.zeros((0, 4, 3), np.float32), np.zeros((0, 3), np.bool_))


def test_a_network_is_built_once_per_architecture() -> None:
    """Asking again for an architecture gives the network that is there."""
    assert isinstance(trained(3).network, Network)
    assert trained(3).network is trained(4).network
