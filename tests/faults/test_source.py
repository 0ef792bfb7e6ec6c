"""The harness's source of windows: a good window is one that must be predicted."""

import numpy as np
import pytest

from millrace.contracts.missing import fill_missing
from tests.faults.harness.source import SPEC, _lost


@pytest.mark.parametrize("share", [0.01, 0.5, 1.0])
def test_a_good_window_never_lacks_every_target(share: float) -> None:
    """However many readings are drawn to be missing, wherever a window begins."""
    rng = np.random.default_rng(5)
    lost = _lost(rng.random((4096, len(SPEC.sensors))) < share)
    readings = np.where(lost, np.nan, 1.0).astype(np.float32)
    whole = np.concatenate([readings, readings])  # blocks follow each other
    for first in range(4096):
        _, present = fill_missing(whole[first : first + SPEC.window])
        assert present[list(SPEC.target_columns)].any()
    assert lost.any()
