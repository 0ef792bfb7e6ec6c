"""Normalised windows: what a window becomes does not depend on its batch."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from millrace.contracts.events.ledger import LedgerEntry
from millrace.contracts.events.normalized_window import NormalizedWindow
from millrace.contracts.normaliser import Normaliser
from millrace.contracts.source import Source
from millrace.contracts.topics import SENSOR_WINDOWS
from millrace.stream_processors.windows.stamping import stamped
from millrace.stream_processors.windows.validation import Block, judge
from tests.builders import (
    AT,
    START_MS,
    UNITS,
    WindowRecord,
    pump_window,
    registered,
    registry_of,
    window_record,
)

OTHER = Normaliser((1e5, -3.0, 0.25), (1e-3, 7.0, 1.0))
NOW_MS = START_MS + 86_400_000


def block_of(records: list[WindowRecord]) -> Block:
    """Judge windows of a model with two trained versions, of different units."""
    registry = registry_of()
    registry.apply(registered(1, units=UNITS))
    registry.apply(registered(2, units=OTHER))
    (block,) = judge(records, registry, NOW_MS).blocks
    return block


def stamp(records: list[WindowRecord], versions: list[int]) -> list[NormalizedWindow]:
    """Stamp records with versions."""
    return stamped(
        block_of(records),
        list(range(len(records))),
        [LedgerEntry("pump", 0, version + 1, version, 0, AT) for version in versions],
        [Source(SENSOR_WINDOWS.name, 0, r.offset, r.timestamp) for r in records],
    )


def gappy(offset: int, seed: int) -> WindowRecord:
    """A window with some readings missing; a target is always there."""
    rng = np.random.default_rng(seed)
    values = (pump_window(3 * offset).values + rng.normal(0, 1e3, (6, 3))).astype(np.float32)
    values[rng.random(values.shape) < 0.2] = np.nan
    values[:, 0] = rng.normal(size=6)
    return window_record(pump_window(3 * offset, values=values), offset)


@settings(max_examples=100)
@given(
    cases=st.lists(st.tuples(st.integers(0, 1 << 20), st.integers(0, 2)), min_size=1, max_size=9)
)
def test_a_batch_becomes_what_its_windows_become_alone(cases: list[tuple[int, int]]) -> None:
    """Version by version, with gaps and absent sensors: equal, bit for bit."""
    records = [gappy(offset, seed) for offset, (seed, _) in enumerate(cases)]
    versions = [version for _, version in cases]
    together = stamp(records, versions)
    assert together == [stamp([r], [v])[0] for r, v in zip(records, versions, strict=True)]


def test_a_window_is_in_the_units_of_its_stamp() -> None:
    """Each is normalised with its own version's units, and says which."""
    record = window_record(pump_window(), 0)
    first, second = stamp([record, record], [1, 2])
    assert (first.version, first.epoch, second.version, second.epoch) == (1, 2, 2, 3)
    np.testing.assert_allclose(
        first.matrix(3), (pump_window().values - UNITS.mean) / UNITS.scale, rtol=1e-5
    )
    np.testing.assert_allclose(
        second.matrix(3), (pump_window().values - OTHER.mean) / OTHER.scale, rtol=1e-5
    )


def test_only_the_windows_asked_for_are_stamped() -> None:
    """Places pick windows of the block; coordinates and presence are theirs."""
    records = [window_record(pump_window(3 * i), i) for i in range(4)]
    fence = LedgerEntry("pump", 0, 1, 0, 0, AT)
    sources = [Source(SENSOR_WINDOWS.name, 0, i, START_MS) for i in (1, 3)]
    made = stamped(block_of(records), [1, 3], [fence, fence], sources)
    assert [window.window_id for window in made] == [pump_window(3).id, pump_window(9).id]
    assert [window.end_ms for window in made] == [pump_window(3).end_ms, pump_window(9).end_ms]
    assert all(window.presence().all() for window in made)
