"""Stamps: where fences stand, and that the ledger has the last word."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from millrace.contracts.events.ledger import LedgerEntry
from millrace.registry.state import Registry
from millrace.stream_processors.windows.stamps import Stamps
from tests.builders import AT, activated, approved, pump_spec, registered, registry_of, rolled_back


def fence(epoch: int, version: int, first_offset: int, partition: int = 0) -> LedgerEntry:
    """Build an entry of the ledger."""
    return LedgerEntry("pump", partition, epoch, version, first_offset, AT)


def set_due(stamps: Stamps, registry: Registry, offset: int, partition: int = 0) -> list[int]:
    """Set the fences that are due at an offset; their epochs."""
    entries = stamps.due(registry.models.values(), partition, offset, AT)
    for entry in entries:
        stamps.learn(entry)
    return [entry.epoch for entry in entries]


def test_a_declared_model_is_fenced_once_per_partition() -> None:
    """The first window of each partition needs a fence; the second needs none."""
    stamps, registry = Stamps(), registry_of()
    assert set_due(stamps, registry, 0) == [1]
    assert set_due(stamps, registry, 1) == []
    assert set_due(stamps, registry, 7, partition=1) == [1]
    assert stamps.at("pump", 0, 0).version == 0
    assert stamps.at("pump", 1, 7).first_offset == 7


def test_a_swap_holds_from_its_offset_on() -> None:
    """Windows before the fence keep their version, those from it on have the new one."""
    stamps = Stamps()
    registry = registry_of(registered(1), approved(1))
    set_due(stamps, registry, 0)
    registry.apply(activated(1, 2))
    assert set_due(stamps, registry, 10) == [2]
    assert [stamps.at("pump", 0, offset).version for offset in (0, 9, 10, 99)] == [0, 0, 1, 1]


def test_a_rollback_is_a_fence_like_any_other() -> None:
    """An older version returns under a newer epoch."""
    stamps = Stamps()
    registry = registry_of(registered(1), approved(1), activated(1, 2), rolled_back(0, 3))
    for entry in (fence(1, 0, 0), fence(2, 1, 10)):
        stamps.learn(entry)
    assert set_due(stamps, registry, 20) == [3]
    stamp = stamps.at("pump", 0, 20)
    assert (stamp.version, stamp.epoch) == (0, 3)


def test_epochs_that_no_window_saw_are_skipped() -> None:
    """Two swaps between two windows set one fence: the latest."""
    stamps = Stamps()
    registry = registry_of(
        registered(1), approved(1), registered(2), approved(2), activated(1, 2), activated(2, 3)
    )
    assert set_due(stamps, registry, 5) == [3]
    assert stamps.at("pump", 0, 5).version == 2


def test_an_older_epoch_never_returns() -> None:
    """A registry that has not caught up with the ledger sets no fence."""
    stamps = Stamps()
    stamps.learn(fence(4, 2, 30))
    assert set_due(stamps, registry_of(), 40) == []
    assert stamps.at("pump", 0, 40).version == 2


def test_the_ledger_is_the_authority_over_repeated_windows() -> None:
    """A window taken again after a crash gets the stamp that it had, whatever serves now."""
    ledger = [fence(1, 0, 0), fence(2, 1, 10), fence(3, 2, 20)]
    stamps = Stamps()
    for entry in reversed(ledger):  # and the order of reading does not matter
        stamps.learn(entry)
    assert [stamps.at("pump", 0, offset).version for offset in (3, 10, 19, 20)] == [0, 1, 1, 2]


def test_an_entry_that_is_known_changes_nothing() -> None:
    """The first entry of an epoch counts, as the window before it has already left."""
    stamps = Stamps()
    stamps.learn(fence(2, 1, 10))
    stamps.learn(fence(2, 1, 15))
    assert stamps.at("pump", 0, 12).first_offset == 10


def test_a_window_before_the_first_fence_takes_it() -> None:
    """A window that lies before every fence has the oldest stamp that there is."""
    stamps = Stamps()
    stamps.learn(fence(1, 0, 50))
    assert stamps.at("pump", 0, 3).version == 0


def test_a_partition_without_fences_is_a_defect() -> None:
    """Stamping without asking for due fences is no silent default."""
    with pytest.raises(LookupError, match="pump has no fence in partition 2"):
        Stamps().at("pump", 2, 0)


def test_models_have_their_own_fences() -> None:
    """Each model of a partition is fenced for itself; one that serves nothing is not."""
    stamps = Stamps()
    registry = registry_of(specs=[pump_spec("pump"), pump_spec("other", window=7)])
    registry.apply(registered(0, spec=pump_spec("silent", window=8)))
    entries = stamps.due(registry.models.values(), 0, 0, AT)
    assert {entry.model for entry in entries} == {"pump", "other"}


@given(
    swaps=st.lists(st.integers(0, 60), max_size=8),
    crashes=st.lists(st.integers(1, 60), max_size=3),
)
def test_stamps_never_step_back_and_crashes_change_none(
    swaps: list[int], crashes: list[int]
) -> None:
    """Over swaps at any offsets, and worker restarts, each window has one stamp for good."""
    registry = registry_of(*(e for v in range(1, 9) for e in (registered(v), approved(v))))
    ledger: list[LedgerEntry] = []
    given_stamps: dict[int, LedgerEntry] = {}
    stamps = Stamps()
    due_swaps = sorted(swaps)
    offset = 0
    while offset < 60:
        while due_swaps and due_swaps[0] <= offset:
            due_swaps.pop(0)
            version = 8 - len(due_swaps)
            registry.apply(activated(version, version + 1))
        for entry in stamps.due(registry.models.values(), 0, max([-1, *given_stamps]) + 1, AT):
            ledger.append(entry)
            stamps.learn(entry)
        stamp = stamps.at("pump", 0, offset)
        assert given_stamps.setdefault(offset, stamp) == stamp
        offset += 1
        if offset in crashes:  # the worker starts again, some windows earlier
            crashes = [crash for crash in crashes if crash != offset]
            stamps = Stamps()
            for entry in ledger:
                stamps.learn(entry)
            offset = max(0, offset - 7)
    epochs = [given_stamps[offset].epoch for offset in sorted(given_stamps)]
    assert epochs == sorted(epochs)
    assert len({entry.epoch for entry in ledger}) == len(ledger)
