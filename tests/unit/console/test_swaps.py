"""Swaps as the registry and the ledger tell them."""

from __future__ import annotations

from datetime import timedelta

from millrace.contracts.events.model_event import RolledBack
from millrace.verification.swaps import swaps_of
from tests.unit.console.made import SPEC, START, fence, swap_events


def test_a_swap_lasts_from_its_approval_to_its_last_stamp() -> None:
    """The first epoch, persistence, is no swap; partitions are those of the epoch's fences."""
    ledger = [fence(1, 0, 0), fence(2, 1, 7), fence(2, 1, 9, partition=1)]
    (swap,) = swaps_of(swap_events(), ledger, SPEC.name)
    assert (swap.version, swap.epoch, swap.kind) == (1, 2, "activated")
    assert swap.partitions == {0: 7, 1: 9}
    assert swap.activation_seconds == 2.0
    assert swap.stamping_seconds == 1.0


def test_a_roll_back_counts_from_its_own_event() -> None:
    """Its version was approved long ago, which says nothing about how long it took."""
    at = START + timedelta(seconds=2)
    back = RolledBack(id="b", model=SPEC.name, version=0, at=at, epoch=3, detail="broken")
    swap = swaps_of([*swap_events(), back], [fence(3, 0, 11)], SPEC.name)[1]
    assert (swap.version, swap.kind, swap.approved_at) == (0, "rolled_back", None)
    assert swap.activation_seconds == 1.0


def test_a_swap_without_stamps_has_no_end() -> None:
    """Nothing is made up."""
    (swap,) = swaps_of(swap_events(), [], SPEC.name)
    assert swap.activation_seconds is None
    assert swap.partitions == {}


def test_a_repeated_activation_is_one_swap() -> None:
    """Epochs only grow; an event that is written twice changes nothing."""
    events = swap_events()
    assert len(swaps_of([*events, events[-1]], [], SPEC.name)) == 1
