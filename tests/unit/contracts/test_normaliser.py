"""A normaliser's units go both ways, and impossible units are refused."""

import hypothesis.extra.numpy as npst
import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from millrace.contracts.errors import DataError
from millrace.contracts.normaliser import Normaliser

MEANS = st.floats(-1e3, 1e3)
SCALES = st.floats(1e-2, 1e3)


@given(
    st.lists(st.tuples(MEANS, SCALES), min_size=3, max_size=3),
    npst.arrays(np.float32, (7, 3), elements=st.floats(-1e3, 1e3, width=32)),
)
def test_round_trip(units: list[tuple[float, float]], values: npt.NDArray[np.float32]) -> None:
    """Normalised readings of present sensors come back to what they were."""
    normaliser = Normaliser(tuple(m for m, _ in units), tuple(s for _, s in units))
    normalised = normaliser.apply(values, np.ones(3, np.bool_))
    assert normalised.dtype == np.float32
    back = normaliser.restore(normalised, (0, 1, 2))
    np.testing.assert_allclose(back, values, rtol=1e-4, atol=2e-3)


@given(
    npst.arrays(
        np.float32,
        st.tuples(st.integers(0, 9), st.integers(1, 5), st.just(3)),
        elements=st.floats(-1e3, 1e3, width=32),
    )
)
def test_each_reading_is_scaled_in_double_precision(values: npt.NDArray[np.float32]) -> None:
    """Windows together give what each reading gives alone, bit for bit, whatever their number."""
    mean, scale = (0.1, 100.0, -3.7), (0.3, 7.0, 1e-2)
    expected = ((values.astype(np.float64) - mean) / scale).astype(np.float32)
    made = Normaliser(mean, scale).apply(values, np.ones((len(values), 3), np.bool_))
    assert made.tobytes() == expected.tobytes()


def test_windows_that_are_too_many_to_be_scaled_at_once() -> None:
    """Wherever windows are cut into portions, none is left out or scaled twice."""
    values = np.arange(3 * 20_000, dtype=np.float32).reshape(3, 10_000, 2)
    made = Normaliser((1.0, 2.0), (4.0, 8.0)).apply(values, np.ones((3, 2), np.bool_))
    assert (made == (values - [1.0, 2.0]) / [4.0, 8.0]).all()


def test_absent_sensors_are_zero() -> None:
    """An absent sensor is 0 whatever stands in its column."""
    normaliser = Normaliser((5.0, 5.0), (2.0, 2.0))
    normalised = normaliser.apply(np.full((2, 2), 9.0), np.array([True, False]))
    assert normalised.tolist() == [[2.0, 0.0], [2.0, 0.0]]


def test_restore_takes_columns_of_targets() -> None:
    """A forecast's columns are restored in the units of the sensors that they are of."""
    normaliser = Normaliser((0.0, 100.0), (1.0, 10.0))
    assert normaliser.restore(np.array([[1.0]]), (1,)).tolist() == [[110.0]]


def test_digest_is_pinned() -> None:
    """Predictions of the past name this digest."""
    digest = Normaliser((1.0, 2.5), (0.5, 3.0)).digest
    assert digest == "16763af63de9ee7f45215692f2d5119e26f7efca01a490f72aebd4d8c71908bc"


@pytest.mark.parametrize(
    ("mean", "scale"),
    [((0.0,), (0.0,)), ((0.0,), (-1.0,)), ((np.inf,), (1.0,)), ((0.0,), (np.nan,)), ((0.0,), ())],
)
def test_impossible_units_are_refused(mean: tuple[float, ...], scale: tuple[float, ...]) -> None:
    """Units that would make nonsense of every window cannot be made."""
    with pytest.raises(DataError, match="normaliser"):
        Normaliser(mean, scale)
