"""The fit learns, repeats itself, continues from a serving version, and stops by itself."""

import msgspec
import numpy as np
import pytest

from millrace.contracts.errors import DataError
from millrace.contracts.normaliser import Normaliser
from millrace.model_families.examples import Examples
from millrace.model_families.family import FitSettings, Fitted, Start
from millrace.model_families.lstm_highway.fit import fit, forecast, prepare
from millrace.model_families.lstm_highway.forecaster import Architecture, rescale

ARCHITECTURE = Architecture(window=12, sensors=3, steps=2, targets=(0, 2), units=8)
SETTINGS = FitSettings(max_epochs=6, batch=32, patience=3, learning_rate=5e-3)


@pytest.fixture(scope="module", autouse=True)
def deterministic() -> None:
    """TensorFlow repeats itself in these tests, as it does in a run."""
    prepare()


def waves(count: int, seed: int, *, bend: float = 0.8) -> Examples:
    """Sines with noise, whose next samples depend on a window neither linearly nor by its level."""
    rng = np.random.default_rng(seed)
    phase, period = rng.uniform(0, 6.28, (count, 1)), rng.uniform(7, 13, (count, 1))
    time = np.arange(ARCHITECTURE.window + 2)
    wave = np.sin(phase + 6.28 * time / period)
    columns = [wave, rng.normal(size=wave.shape), np.abs(wave) * bend]
    readings = np.stack(columns, axis=-1) + rng.normal(size=(count, 1, 3))
    x, y = readings[:, : ARCHITECTURE.window], readings[:, ARCHITECTURE.window :, [0, 2]]
    present, known = np.ones((count, 3)), np.ones((count, 2))
    present[: count // 4, 2] = known[: count // 4, 1] = 0
    x[: count // 4, :, 2] = 0
    parts = (x, present, y, known, np.ones(count))
    return Examples(*(np.asarray(part, dtype=np.float32) for part in parts))


def error(weights: dict[str, np.ndarray], examples: Examples) -> float:
    """Mean absolute error of a network on examples."""
    got = forecast(ARCHITECTURE, weights, examples.x, examples.present)
    return float(
        (np.abs(got - examples.y) * examples.known[:, None]).sum() / examples.known.sum() / 2
    )


TRAIN, VALIDATION, LATER = waves(600, 1), waves(150, 2), waves(200, 3)


@pytest.fixture(scope="module")
def fresh() -> Fitted:
    """A fit from nothing."""
    return fit(ARCHITECTURE, TRAIN, VALIDATION, SETTINGS)


def validation(fitted: Fitted) -> list[float]:
    """Validation error of each epoch."""
    return [epoch["validation"] for epoch in fitted.figures["history"]]


def best(fitted: Fitted) -> int:
    """The epoch whose weights were kept."""
    epoch: int = fitted.figures["best_epoch"]
    return epoch


def test_beats_persistence_on_windows_it_has_not_seen(fresh: Fitted) -> None:
    """The fitted network's error is less than half of the last value's."""
    last = np.repeat(LATER.x[:, -1:, [0, 2]], 2, axis=1)
    known = LATER.known[:, None]
    persistence = float((np.abs(last - LATER.y) * known).sum() / known.sum() / 2)
    assert error(fresh.weights, LATER) < 0.5 * persistence


def test_the_recurrent_part_adds_to_the_highway(fresh: Fitted) -> None:
    """The best epoch is not the one before any step, and is the best in the history."""
    errors = validation(fresh)
    assert best(fresh) > 0
    assert errors[best(fresh)] == min(errors) < errors[0]
    assert error(fresh.weights, VALIDATION) == pytest.approx(min(errors), rel=1e-5)


def test_the_same_fit_gives_the_same_bits(fresh: Fitted) -> None:
    """A second fit's weights and optimizer are equal, byte for byte; another seed's are not."""
    again = fit(ARCHITECTURE, TRAIN, VALIDATION, SETTINGS)
    assert again.figures == fresh.figures
    for made, other in ((again.weights, fresh.weights), (again.optimizer, fresh.optimizer)):
        assert list(made) == list(other)
        assert all(made[name].tobytes() == other[name].tobytes() for name in made)
    reseeded = fit(ARCHITECTURE, TRAIN, VALIDATION, msgspec.structs.replace(SETTINGS, seed=2))
    assert reseeded.figures != fresh.figures


def test_a_warm_start_goes_on_where_the_other_stopped(fresh: Fitted) -> None:
    """Its error before any step is already the first fit's best, and its steps are counted on."""
    warm = fit(ARCHITECTURE, TRAIN, VALIDATION, SETTINGS, Start(fresh.weights, fresh.optimizer))
    least = validation(fresh)[best(fresh)]
    assert validation(warm)[0] == pytest.approx(least, rel=1e-4)
    assert validation(warm)[best(warm)] <= least * (1 + 1e-4)
    steps = int(fresh.optimizer["adamw/iteration"])
    assert int(warm.optimizer["adamw/iteration"]) == steps + best(warm) * 19


def test_rescaled_weights_forecast_the_same_readings(fresh: Fitted) -> None:
    """In other units, and with other means, the network says the same in physical units."""
    old = Normaliser((1.0, 2.0, 3.0), (1.0, 1.0, 1.0))
    new = Normaliser((0.0, -7.0, 50.0), (0.5, 3.0, 20.0))
    moved = rescale(ARCHITECTURE, fresh.weights, old, new)
    readings = LATER.x * np.array(old.scale) + np.array(old.mean)
    seen, present = LATER.present > 0, LATER.present
    before = old.restore(
        forecast(ARCHITECTURE, fresh.weights, old.apply(readings, seen), present), (0, 2)
    )
    after = new.restore(forecast(ARCHITECTURE, moved, new.apply(readings, seen), present), (0, 2))
    known = np.broadcast_to(LATER.known[:, None] > 0, before.shape)
    np.testing.assert_allclose(after[known], before[known], atol=2e-4)


def test_a_shift_of_level_changes_no_error(fresh: Fitted) -> None:
    """The network is blind to the level: readings 40 higher are forecast 40 higher."""
    got = forecast(ARCHITECTURE, fresh.weights, LATER.x + 40, LATER.present)
    flat = forecast(ARCHITECTURE, fresh.weights, LATER.x, LATER.present)
    np.testing.assert_allclose(got, flat + 40, atol=1e-3)


def test_what_an_absent_sensor_reads_is_ignored(fresh: Fitted) -> None:
    """Garbage in a masked sensor changes no other sensor's forecast."""
    present = np.ones_like(LATER.present)
    present[:, 1] = 0
    garbage = LATER.x.copy()
    garbage[:, :, 1] = 1e3 * np.arange(ARCHITECTURE.window)
    np.testing.assert_array_equal(
        forecast(ARCHITECTURE, fresh.weights, garbage, present),
        forecast(ARCHITECTURE, fresh.weights, LATER.x, present),
    )


def test_an_optimizer_of_another_network_is_left_behind(fresh: Fitted) -> None:
    """Foreign state, or some of it, gives the fit that a fresh optimizer gives."""
    few = msgspec.structs.replace(SETTINGS, max_steps=19)
    alone = fit(ARCHITECTURE, TRAIN, VALIDATION, few, Start(fresh.weights))
    some = dict(list(fresh.optimizer.items())[:-1])
    for foreign in ({"lion/iteration": np.array(7)}, some):
        warm = fit(ARCHITECTURE, TRAIN, VALIDATION, few, Start(fresh.weights, foreign))
        assert warm.figures == alone.figures


def test_steps_are_bounded() -> None:
    """A fit takes no more steps than it was allowed, beyond its first epoch."""
    few = msgspec.structs.replace(SETTINGS, max_steps=40)
    assert len(validation(fit(ARCHITECTURE, TRAIN, VALIDATION, few))) == 1 + 40 // 19


def test_refuses_what_cannot_be_learned_from(fresh: Fitted) -> None:
    """No examples and another network's weights are each one clear error."""
    nothing = TRAIN.take(np.array([], dtype=np.intp))
    with pytest.raises(DataError, match="wait for more windows"):
        fit(ARCHITECTURE, nothing, VALIDATION, SETTINGS)
    with pytest.raises(DataError, match="do not fit the network"):
        fit(ARCHITECTURE, TRAIN, VALIDATION, SETTINGS, Start({}))
