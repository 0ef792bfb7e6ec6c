"""What the growth benchmark says of its runs, and of an asset's memory."""

from benchmarks.asset_memory import asset_memory
from benchmarks.growth import full


def test_the_resource_that_is_used_up_is_named() -> None:
    """The machine first: a process that has its core cannot have another either way."""
    assert full(1.1, 0.8, 2, 2) == "all cores of the machine"
    assert full(1.0, 0.3, 1, 2) == "one core per process"
    assert full(0.6, 0.3, 1, 2) == "none"
    assert full(1.9, None, 2, 2) == "all cores of the machine"


def test_an_asset_with_a_past_costs_little_while_it_is_answered() -> None:
    """And holds its forecasts while it is not."""
    young = asset_memory(10, 2, answered=True)
    old = asset_memory(10, 40, answered=True)
    waiting = asset_memory(10, 40, answered=False)
    assert 500 < young.live < old.live < 20_000
    assert old.live < waiting.live
    assert old.snapshot < waiting.snapshot
