"""What the archive lacks is noted once, in order, and survives a damaged note."""

from typing import cast

from millrace.infra.archive.gaps import BATCH, HEADERS, Gap, gaps_key, note_gap, read_gaps
from millrace.infra.object_store import ObjectStore
from tests.unit.trainer.shelf import Shelf


def test_gaps_are_noted_once_and_in_order() -> None:
    """A gap that is found again after a restart is the same one."""
    store = cast(ObjectStore, Shelf())
    assert read_gaps(store, "outcomes", 1) == ()
    for gap in (Gap(9, 12, BATCH), Gap(3, 4, HEADERS), Gap(9, 12, BATCH)):
        note_gap(store, "outcomes", 1, gap)
    assert read_gaps(store, "outcomes", 1) == (Gap(3, 4, HEADERS), Gap(9, 12, BATCH))


def test_a_damaged_note_is_begun_anew() -> None:
    """It stops no archiver."""
    shelf = Shelf()
    shelf.put(gaps_key("outcomes", 1), b"[")
    note_gap(cast(ObjectStore, shelf), "outcomes", 1, Gap(3, 4, HEADERS))
    assert read_gaps(cast(ObjectStore, shelf), "outcomes", 1) == (Gap(3, 4, HEADERS),)
