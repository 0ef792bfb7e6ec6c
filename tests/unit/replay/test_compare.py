"""Errors of two versions on the same windows: by hand for a few, and what follows from them."""

import numpy as np
import pytest

from millrace.console.operations.compare import _by_asset, _errors, _Judged, _over_time
from millrace.trainer.learning.gate import GateSettings
from tests.unit.replay.made import SPEC, pipeline, records, run

SCALES = np.array([2.0, 0.5])
SCORED = run(pipeline(), records(30))


def test_an_error_is_the_mean_over_what_is_known() -> None:
    """In scales; a target without truth does not count, nor does a window without any."""
    (version_2,) = (each for each in SCORED.runs if each.servable.version == 2)
    first, second, third = (version_2.windows[n].source.offset for n in range(3))
    said = version_2.said.forecast
    truths: dict[int, list[list[float | None]]] = {
        first: (said[0] + np.array([[1.0, 0.25]], "f4")).tolist(),
        second: [[float(said[1, step, 0]) - 4.0, None] for step in range(3)],
        third: [[None, None]] * 3,
    }
    found = dict(_errors(version_2, truths, SCALES))
    assert found.keys() == {first, second}
    assert found[first].error == pytest.approx((1 / 2 + 0.25 / 0.5) / 2, rel=1e-5)
    assert found[second].error == pytest.approx(2.0, rel=1e-5)
    gap = np.abs(said[0] + [1.0, 0.25] - version_2.said.last[0]) / SCALES
    assert found[first].persistence == pytest.approx(gap.mean(), rel=1e-5)


def judged(a: float, b: float) -> _Judged:
    """Forty windows of two assets, an hour apart, with steady errors."""
    return _Judged(
        np.arange(40, dtype=np.int64) * 3_600_000,
        np.array(["pump-1", "pump-2"] * 20),
        np.tile([a, b, 2.0], (40, 1)),
    )


def test_the_better_version_is_better_on_every_asset() -> None:
    """Steady errors leave no doubt: the interval is a point."""
    total, assets = _by_asset(judged(1.0, 0.75), SPEC, GateSettings())
    assert (total.windows, total.a, total.b, total.persistence) == (40, 1.0, 0.75, 2.0)
    for errors in (total, *assets.values()):
        assert errors.improvement == pytest.approx(0.25)
        assert (errors.low, errors.high) == pytest.approx((0.25, 0.25))
    assert assets.keys() == {"pump-1", "pump-2"}


def test_a_worse_version_is_a_negative_improvement() -> None:
    """By how much."""
    total, _ = _by_asset(judged(1.0, 1.5), SPEC, GateSettings())
    assert total.improvement == pytest.approx(-0.5)


def test_stretches_cover_all_windows_once() -> None:
    """In order of event time; a stretch without windows has no error."""
    stretches = _over_time(judged(1.0, 0.75))
    assert sum(each.windows for each in stretches) == 40
    assert {each.a for each in stretches} == {1.0, None}
    assert [each.since for each in stretches] == sorted(each.since for each in stretches)
