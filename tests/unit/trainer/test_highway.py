"""The linear highway's closed form."""

import numpy as np
import pytest

from millrace.model_families.examples import Examples
from millrace.model_families.lstm_highway import highway
from millrace.model_families.lstm_highway.forecaster import Architecture

ARCHITECTURE = Architecture(window=5, sensors=2, steps=2, targets=(1,), units=4)


def examples(count: int, seed: int) -> Examples:
    """Noise, of which some is absent or unknown, in differing weights."""
    rng = np.random.default_rng(seed)
    x, y = rng.normal(size=(count, 5, 2)), rng.normal(size=(count, 2, 1))
    present, known = rng.random((count, 2)) > 0.2, rng.random((count, 1)) > 0.2
    parts = (x, present, y, known, rng.uniform(0.5, 2, count))
    return Examples(*(np.asarray(part, dtype=np.float32) for part in parts))


def test_parts_give_what_the_whole_gives(monkeypatch: pytest.MonkeyPatch) -> None:
    """However the examples are cut, the kernel and its penalty are the same."""
    train, validation = examples(101, 1), examples(31, 2)
    whole, penalty = highway.solve_highway(ARCHITECTURE, train, validation, (1.0, 30.0))
    monkeypatch.setattr(highway, "_PART", 7)
    parts, same = highway.solve_highway(ARCHITECTURE, train, validation, (1.0, 30.0))
    assert same == penalty
    assert np.abs(whole).max() > 0.01
    np.testing.assert_allclose(parts, whole, atol=1e-6)
