"""Which objects of the archive a run pins."""

from collections.abc import Iterator
from datetime import UTC, datetime
from hashlib import sha256
from typing import cast

import pytest

from contracts.errors import DataError
from contracts.events import encode
from contracts.model_spec import ModelSpec
from contracts.outcome import Outcome
from contracts.source import Source
from contracts.topics import OUTCOMES, SENSOR_WINDOWS
from infra.object_store import ObjectStore
from trainer.archive import ArchivedObject, Catalogue, Record, encode_records
from trainer.manifest import DataManifest, fetch_manifest, pin

NOW = datetime(2026, 1, 1, tzinfo=UTC)
SPEC = ModelSpec("pumps", ("flow", "heat"), 60.0, 4, 2, 2)


class Shelf:
    """A store in memory that notes what is fetched."""

    def __init__(self) -> None:
        self.objects: dict[str, bytes] = {}
        self.fetched: list[str] = []

    def put(self, key: str, data: bytes, _: str = "") -> str:
        """Store an object."""
        self.objects[key] = data
        return sha256(data).hexdigest()

    def get(self, key: str, *, digest: str | None = None) -> bytes:
        """Fetch an object."""
        self.fetched.append(key)
        data = self.objects[key]
        assert digest in {None, sha256(data).hexdigest()}
        return data

    def keys(self, prefix: str, *, after: str | None = None) -> Iterator[str]:
        """List objects."""
        return (k for k in sorted(self.objects) if k.startswith(prefix) and k > (after or ""))


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
