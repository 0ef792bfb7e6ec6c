"""What a replay makes of records: the versions of the ledger, each window once, any block size."""

import numpy as np
import pytest

from millrace.contracts.events.ledger import LedgerEntry
from millrace.contracts.invalid_record import InvalidRecord
from tests.builders import AT, pump_window, window_record
from tests.unit.replay.made import forecasts, past, pipeline, records, run


@pytest.mark.parametrize("size", [1, 7, 30, 1024])
def test_each_window_runs_on_the_version_of_its_fence(size: int) -> None:
    """However the records are cut into blocks, the forecasts are the same bits."""
    given = records(30)
    found = forecasts(run(pipeline(), given, size))
    assert [found[position][0] for position in range(30)] == [0] * 10 + [1] * 10 + [2] * 10
    assert found == forecasts(run(pipeline(), given))


def test_forecasts_are_in_physical_units() -> None:
    """A version's shift is one of its own units; a window is stamped with its fence."""
    scored = run(pipeline(), records(30))
    by_version = {run.servable.version: run for run in scored.runs}
    gap = by_version[2].said.forecast[:, 0] - by_version[2].said.last
    np.testing.assert_allclose(gap, np.broadcast_to([0.2 * 3.0, 0.2 * 0.25], gap.shape), rtol=1e-3)
    assert {(w.version, w.epoch) for w in by_version[1].windows} == {(1, 2)}


def test_a_repeat_is_passed_over_and_a_changed_one_refused() -> None:
    """As live; also when the first one lies before the wanted records."""
    first = pump_window(0)
    values = first.values.copy()
    values[0, 0] += 1
    changed = pump_window(0, values=values)
    given = [past(window_record(w, n)) for n, w in enumerate([first, first, changed])]
    scored = run(pipeline(), given)
    assert (list(forecasts(scored)), scored.repeated) == ([0], [1])
    assert scored.refused[2].reason == "changed_repeat"
    later = run(pipeline(), given, begin=1)
    assert (later.records, list(forecasts(later)), later.repeated) == (2, [], [1])
    assert later.refused.keys() == {2}


def test_what_was_refused_then_stays_refused() -> None:
    """With the reason of then; the window counts as not seen, so a retry of it is predicted."""
    then = InvalidRecord("unknown_sensor_set", "no model read it")
    given = [past(window_record(pump_window(0), n)) for n in range(2)]
    scored = run(pipeline(refused_then={0: then}), given)
    assert scored.refused == {0: then}
    assert list(forecasts(scored)) == [1]


def test_a_bad_record_is_refused_and_its_neighbours_are_not() -> None:
    """With the reason that live gives."""
    given = records(3)
    given[1] = given[1]._replace(value=b"\xc1")
    scored = run(pipeline(), given)
    assert {p: each.reason for p, each in scored.refused.items()} == {1: "undecodable"}
    assert list(forecasts(scored)) == [0, 2]


def test_only_the_assets_that_were_asked_for() -> None:
    """The others are counted."""
    scored = run(pipeline(assets=["pump-1"]), records(9))
    assert (sorted(forecasts(scored)), scored.others) == ([1, 4, 7], 6)


def test_a_substitute_runs_where_the_stamped_version_could_not() -> None:
    """In its own units: the forecast is that of the substitute on the physical readings."""
    given = records(12)
    plain, substituted = (run(pipeline(substitutes=which), given) for which in ({}, {11: 0}))
    assert forecasts(substituted)[11][0] == 0
    (one,) = (r for r in substituted.runs if [w.source.offset for w in r.windows] == [11])
    assert one.windows[0].version == 1
    np.testing.assert_allclose(one.said.forecast[0, 0], last_targets(11), rtol=1e-5)
    assert forecasts(substituted)[10] == forecasts(plain)[10]


def last_targets(position: int) -> list[float]:
    """The last reading of both targets of a pump's window."""
    window = pump_window(3 * (position // 3), asset=f"pump-{position % 3}")
    return [float(window.values[-1, 0]), float(window.values[-1, 2])]


def test_without_a_fence_a_window_was_not_served() -> None:
    """It is refused with what to do about it; another partition's fences do not count."""
    other = [LedgerEntry("pump", 1, 1, 0, 0, AT)]
    scored = run(pipeline(ledger=other), records(2))
    assert {each.reason for each in scored.refused.values()} == {"not_served"}
    assert "--model" in scored.refused[0].detail
