"""A dataset's units, and what an error is."""

import numpy as np

from millrace.contracts.model_spec import ModelSpec
from millrace.contracts.normaliser import Normaliser
from millrace.trainer.data.dataset import Dataset
from millrace.trainer.learning.learn import examples_of, fit_normaliser, window_errors

SPEC = ModelSpec("pumps", ("flow", "heat", "valve"), 60.0, 2, 1, 1, targets=("heat", "flow"))


def dataset() -> Dataset:
    """Two windows; heat is absent from the second, and the valve never moves."""
    x = np.array(
        [[[0.0, 10.0, 5.0], [2.0, 14.0, 5.0]], [[4.0, 0.0, 5.0], [6.0, 0.0, 5.0]]], np.float32
    )
    return Dataset(
        x=x,
        present=np.array([[True, True, True], [True, False, True]]),
        y=np.array([[[16.0, 3.0]], [[0.0, 7.0]]], np.float32),
        known=np.array([[True, True], [False, True]]),
        asset=np.array(["a", "b"]),
        start_ms=np.array([0, 1]),
        forecast_ms=np.array([2, 3]),
        until_ms=np.array([3, 4]),
        partition=np.zeros(2, np.int32),
        offset=np.arange(2),
    )


def test_units_come_from_present_readings() -> None:
    """Absent sensors' zeros count for nothing; a sensor that never moved is not blown up."""
    found = fit_normaliser(dataset(), 3)
    assert found.mean == (3.0, 12.0, 5.0)
    assert found.scale == (5.0**0.5, 2.0, 1e-3)


def test_a_sensor_that_was_never_present_keeps_physical_units() -> None:
    """There is nothing to fit."""
    data = dataset().take(np.array([1]))
    assert fit_normaliser(data, 3).mean[1] == 0.0
    assert fit_normaliser(data, 3).scale[1] == 1.0


def test_examples_are_in_the_versions_units() -> None:
    """Truth is normalised by its own sensor, in the order of the targets."""
    units = Normaliser((0.0, 10.0, 5.0), (2.0, 4.0, 1.0))
    made = examples_of(dataset(), SPEC, units)
    assert made.x[0].tolist() == [[0.0, 0.0, 0.0], [1.0, 1.0, 0.0]]
    assert made.x[1, :, 1].tolist() == [0.0, 0.0]
    assert made.y[0].tolist() == [[1.5, 1.5]]
    assert made.known.tolist() == [[1.0, 1.0], [0.0, 1.0]]
    assert made.weight.tolist() == [1.0, 1.0]


def test_an_error_is_over_known_targets_only() -> None:
    """What the truth does not say is not held against a forecast."""
    made = examples_of(dataset(), SPEC, Normaliser.identity(3))
    got = np.array([[[15.0, 6.0]], [[99.0, 6.0]]], np.float32)
    assert window_errors(got, made).tolist() == [2.0, 1.0]
