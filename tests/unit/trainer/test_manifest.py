"""Which objects of the archive a run pins."""

from datetime import UTC, datetime
from hashlib import sha256
from typing import cast

import msgspec
import pytest

from millrace.archiver.merger import Merger
from millrace.archiver.settings import ArchiverSettings
from millrace.contracts.errors import DataError
from millrace.contracts.events.outcome import Outcome
from millrace.contracts.model_spec import ModelSpec
from millrace.contracts.source import Source
from millrace.contracts.topics import OUTCOMES, SENSOR_WINDOWS
from millrace.contracts.wire.codec import encode
from millrace.infra.archive.catalogue import Catalogue
from millrace.infra.archive.objects import ArchivedObject, Record
from millrace.infra.archive.parquet import decode_records, encode_records
from millrace.infra.object_store import ObjectStore
from millrace.trainer.runs.manifest import Archive, DataManifest, fetch_manifest, pin
from tests.unit.trainer.shelf import Shelf

NOW = datetime(2026, 1, 1, tzinfo=UTC)
SPEC = ModelSpec("pumps", ("flow", "heat"), 60.0, 4, 2, 2)


def outcome(offset: int, model: str, partition: int) -> bytes:
    """The outcome of the window at the same offset."""
    return encode(
        Outcome(
            id=f"o-{partition}-{offset}",
            asset="a",
            model=model,
            version=0,
            epoch=1,
            window_id=f"w-{partition}-{offset}",
            source=Source(SENSOR_WINDOWS.name, partition, offset, 0),
            interval_start=NOW,
            interval_end=NOW,
            targets=SPEC.target_names,
            truth=[[0.0, 0.0]],
            error=0.0,
            persistence_error=0.0,
            skill=0.0,
            joined_at=NOW,
        )
    )


def archive(shelf: Shelf, models: list[str], partition: int = 0) -> None:
    """Archive 10 windows and their outcomes for each name, in objects of 10."""
    for number, model in enumerate(models):
        offsets = range(10 * number, 10 * number + 10)
        for topic in (SENSOR_WINDOWS, OUTCOMES):
            records = [
                Record(o, 0, b"a", outcome(o, model, partition) if topic is OUTCOMES else b"w", [])
                for o in offsets
            ]
            item = ArchivedObject(topic.name, partition, offsets[0], offsets[-1])
            shelf.put(item.key, encode_records(records))


def pinned(shelf: Shelf, end: int, most: int, partitions: int = 1) -> DataManifest:
    """Pin up to an offset."""
    store = cast("ObjectStore", shelf)
    ends = {
        topic.name: dict.fromkeys(range(partitions), end) for topic in (SENSOR_WINDOWS, OUTCOMES)
    }
    return pin(store, Catalogue(store), SPEC, ends, most)


def test_the_newest_objects_are_pinned_until_there_is_enough() -> None:
    """Older objects are not even fetched, and objects of other models are left out."""
    shelf = Shelf()
    archive(shelf, ["pumps"] * 30 + ["other", "pumps", "pumps"])
    made = pinned(shelf, end=325, most=12)
    for objects in (made.outcomes, made.windows):
        assert [(o.first, o.until) for o in objects] == [(310, 320), (320, 325)]
    assert not any("-00000000000000000109" in key for key in shelf.fetched)
    assert fetch_manifest(cast("ObjectStore", shelf), made.key, made.digest) == made


def test_each_partition_gives_its_newest() -> None:
    """None of them has so few that a more recent window of it is left out."""
    shelf = Shelf()
    for partition in range(2):
        archive(shelf, ["pumps"] * 4, partition)
    made = pinned(shelf, end=40, most=20, partitions=2)
    found = [("partition=1" in o.key, o.first) for o in made.windows]
    assert found == [(False, 20), (False, 30), (True, 20), (True, 30)]


def test_a_model_without_outcomes_has_nothing_to_learn_from() -> None:
    """Though others have."""
    shelf = Shelf()
    archive(shelf, ["other"])
    with pytest.raises(DataError, match="no outcomes"):
        pinned(shelf, end=10, most=5)


def kept(record: Record) -> tuple[int, bytes | None]:
    """What is compared of a record."""
    return record.offset, record.value


@pytest.mark.parametrize("version", [1, 2])
def test_a_manifest_gives_the_same_records_after_its_objects_were_merged(version: int) -> None:
    """It names offsets; a larger object has them now, and the pinned ones are deleted."""
    shelf = Shelf()
    archive(shelf, ["pumps"] * 9)
    made = pinned(shelf, end=85, most=30)
    if version == 1:
        old = [
            msgspec.structs.replace(o, sha256=sha256(shelf.objects_by_key[o.key]).hexdigest())
            for o in made.outcomes
        ]
        made = msgspec.structs.replace(made, outcomes=old, v=1)
    store = cast("ObjectStore", shelf)

    def read() -> list[tuple[int, bytes | None]]:
        ranges = Archive(store, Catalogue(store), made.v)
        return list(ranges.each(made.outcomes, lambda _, record: kept(record)))

    before = read()
    assert [offset for offset, _ in before] == list(range(50, 85))
    limits = ArchiverSettings(merge_objects=3, retired_seconds=1)
    for moment in range(10):
        Merger(store, limits, set).round(OUTCOMES.name, 0, 2.0 * moment)
    assert not any(o.key in shelf.objects_by_key for o in made.outcomes)
    assert read() == before


def test_records_that_were_altered_are_not_those_of_a_manifest() -> None:
    """The message says which, and that the archive was altered."""
    shelf = Shelf()
    archive(shelf, ["pumps"])
    made = pinned(shelf, end=10, most=30)
    records = list(decode_records(shelf.get(made.outcomes[0].key), ""))
    altered = [*records[:-1], records[-1]._replace(value=b"other")]
    shelf.put(made.outcomes[0].key, encode_records(altered))
    store = cast("ObjectStore", shelf)
    ranges = Archive(store, Catalogue(store), made.v)
    with pytest.raises(DataError, match="the archive was altered"):
        list(ranges.each(made.outcomes, lambda _, record: kept(record)))
