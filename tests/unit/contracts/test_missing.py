"""The rule for missing readings: absent above a share, else carried forward."""

import hypothesis.extra.numpy as npst
import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from millrace.contracts.missing import ABSENT_ABOVE, fill_missing

NAN = np.nan
READINGS = npst.arrays(
    np.float32,
    npst.array_shapes(min_dims=2, max_dims=2, max_side=16),
    elements=st.one_of(st.just(NAN), st.floats(-1e6, 1e6, width=32)),
)


def test_gaps_are_carried_forward_and_leading_ones_back() -> None:
    """A gap takes the reading before it; one at the start, the first there is."""
    column = np.array([[NAN], [2], [NAN], [4], [5], [6], [NAN], [8], [9], [10]], np.float32)
    filled, present = fill_missing(column)
    assert filled[:, 0].tolist() == [2, 2, 2, 4, 5, 6, 6, 8, 9, 10]
    assert present.tolist() == [True]


@pytest.mark.parametrize(("lost", "expected"), [(0, True), (3, True), (4, False), (10, False)])
def test_a_sensor_is_absent_above_the_limit(lost: int, *, expected: bool) -> None:
    """Of ten samples three may be missing, and not four."""
    column = np.ones((10, 1), np.float32)
    column[:lost] = NAN
    filled, present = fill_missing(column)
    assert present.tolist() == [expected]
    assert filled[:, 0].tolist() == [1.0 if expected else 0.0] * 10


@given(READINGS)
def test_filling_keeps_what_was_measured(values: npt.NDArray[np.float32]) -> None:
    """No reading of a present sensor changes, and none is missing afterwards."""
    before = values.copy()
    filled, present = fill_missing(values)
    measured = ~np.isnan(before)
    assert np.array_equal(values, before, equal_nan=True)
    assert filled.dtype == np.float32
    assert np.isfinite(filled).all()
    assert present.tolist() == [bool(m) for m in (~measured).mean(axis=0) <= ABSENT_ABOVE]
    assert np.array_equal(
        filled[:, present][measured[:, present]], before[:, present][measured[:, present]]
    )
    assert not filled[:, ~present].any()
    again, still = fill_missing(filled)
    assert np.array_equal(again, filled)
    assert still.all()
