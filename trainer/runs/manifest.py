"""The records that a run learns from; one file, since pinning and reading must agree.

The manifest is stored under its own digest and named in the run's record. A range is read from the
objects that contain it now: the pinned ones, or a larger one into which they were merged. Digests
are computed from records and not from an object's bytes, and the end offsets are fixed before
reading, so the same manifest always gives the same dataset.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from hashlib import sha256
from typing import Final, TypeVar

import msgspec

from millrace.contracts.errors import DataError
from millrace.contracts.events.outcome import Outcome
from millrace.contracts.events.window import SensorWindow, decode_window
from millrace.contracts.headers import content_type_of
from millrace.contracts.invalid_record import InvalidRecord
from millrace.contracts.model_spec import ModelSpec
from millrace.contracts.source import Source
from millrace.contracts.topics import OUTCOMES, SENSOR_WINDOWS
from millrace.contracts.wire.codec import EventReader
from millrace.infra.archive.catalogue import Catalogue
from millrace.infra.archive.digest import RecordDigest
from millrace.infra.archive.gaps import RemovedRecordsError, read_gaps, removed_until
from millrace.infra.archive.objects import ArchivedObject, Record, parse_key
from millrace.infra.archive.parquet import decode_records, encode_records
from millrace.infra.object_store import ObjectStore
from millrace.trainer.data.dataset import Dataset, Place, Truth, build_dataset, truths_of
from millrace.trainer.runs.job import Ends

#: Objects fetched at the same time.
_FETCHERS: Final = 8

T = TypeVar("T")


class PinnedObject(msgspec.Struct, frozen=True):
    """A range of a partition's records, with a digest to verify them.

    Attributes:
        key: Object that contained them when they were pinned; names topic and partition.
        sha256: Digest of the records from ``first`` to before ``until`` (`RecordDigest`),
            hexadecimal; in a manifest of version 1 that of the object's bytes.
        first: First offset.
        last: Last offset of that object.
        until: Offset at which reading stops; records from it on are not part of the run.
    """

    key: str
    sha256: str
    first: int
    last: int
    until: int


class DataManifest(msgspec.Struct, frozen=True):
    """Training data of a run.

    Attributes:
        model: The model.
        sensor_set: Sensor set of its windows.
        max_windows: Most windows to keep, the most recent ones.
        windows: Objects of `sensor.windows`.
        outcomes: Objects of `outcomes`.
        v: 2; a manifest of version 1 has digests of objects.
    """

    model: str
    sensor_set: str
    max_windows: int
    windows: list[PinnedObject]
    outcomes: list[PinnedObject]
    v: int = 2

    def encode(self) -> bytes:
        """Encode as JSON; the same manifest gives the same bytes."""
        return msgspec.json.encode(self)

    @property
    def digest(self) -> str:
        """SHA-256 of the encoded form, hexadecimal."""
        return sha256(self.encode()).hexdigest()

    @property
    def key(self) -> str:
        """Its key in the object store."""
        return f"manifests/{self.model}/{self.digest}.json"


def lacking(catalogue: Catalogue, ends: Ends) -> list[str]:
    """List the partitions that are not archived up to their end offset yet.

    Raises:
        ServerError: The store does not answer.
    """
    return [
        f"{topic}/{partition}"
        for topic, by_partition in sorted(ends.items())
        for partition, end in sorted(by_partition.items())
        if catalogue.end(topic, partition) < end
    ]


def pin(
    store: ObjectStore, catalogue: Catalogue, spec: ModelSpec, ends: Ends, max_windows: int
) -> DataManifest:
    """Choose the training data of a run, and store its manifest.

    For each partition, the newest outcomes of the model are pinned, going back until there are
    enough, and the objects with their source windows. Event time ascends along a partition except
    for late records, so the most recent windows are among them, and the fetched data does not grow
    with the archive.

    Args:
        store: Object store with the archive.
        catalogue: Covers the ends (see `lacking`).
        spec: The model.
        ends: End offsets, by topic and partition.
        max_windows: Most windows to keep.

    Raises:
        DataError: There is no training data.
        ServerError: The store does not answer.
    """
    places: dict[int, list[int]] = {}
    outcomes: list[PinnedObject] = []
    windows: list[PinnedObject] = []
    with ThreadPoolExecutor(_FETCHERS) as pool:
        for partition, end in sorted(ends[OUTCOMES.name].items()):
            objects = [o for o in catalogue.refresh(OUTCOMES.name, partition) if o.first < end]
            pinned: list[PinnedObject] = []
            count = 0
            for item, data in _fetched(store, pool, objects[::-1]):
                records = list(decode_records(data, item.key, until=end))
                found = _sources(item, records, spec)
                for source in found:
                    places.setdefault(source.partition, []).append(source.offset)
                if found:
                    pinned.append(_pinned(item, end, records))
                count += len(found)
                if count >= max_windows:
                    break
            outcomes.extend(pinned[::-1])
        for partition, end in sorted(ends[SENSOR_WINDOWS.name].items()):
            offsets = sorted(places.get(partition, []))
            wanted = [
                item
                for item in catalogue.refresh(SENSOR_WINDOWS.name, partition)
                if item.first < end
                and bisect_left(offsets, item.first) < bisect_right(offsets, item.last)
            ]
            windows.extend(
                _pinned(item, end, list(decode_records(data, item.key, until=end)))
                for item, data in _fetched(store, pool, wanted)
            )
    if not outcomes:
        raise DataError(f"model {spec.name}: there are no outcomes to learn from yet")
    manifest = DataManifest(spec.name, spec.sensor_set, max_windows, windows, outcomes)
    store.put(manifest.key, manifest.encode(), "application/json")
    return manifest


def fetch_manifest(store: ObjectStore, key: str, digest: str) -> DataManifest:
    """Fetch a stored manifest.

    Raises:
        DataError: It is missing, was altered, or is not a manifest.
        ServerError: The store does not answer.
    """
    try:
        return msgspec.json.decode(store.get(key, digest=digest), type=DataManifest)
    except msgspec.DecodeError as error:
        raise DataError(f"{key} is not a data manifest: {error}") from error


def read_dataset(
    store: ObjectStore, catalogue: Catalogue, manifest: DataManifest, spec: ModelSpec
) -> Dataset:
    """Read a manifest's records and join windows with their truth.

    Args:
        store: Where the archive is.
        catalogue: Lists the objects that contain them now.
        manifest: The records to read.
        spec: The model.

    Raises:
        MissingObjectError: An object of the catalogue is missing.
        RemovedRecordsError: The archive's retention has removed records.
        DataError: Records were altered or removed, or no window has its truth.
        ServerError: The store does not answer.
    """
    archive = Archive(store, catalogue, manifest.v)
    truths = truths_of(archive.each(manifest.outcomes, _outcome), spec)
    windows = archive.each(manifest.windows, partial(_window, truths))
    return build_dataset(windows, truths, spec, max_windows=manifest.max_windows)


_read_outcome = EventReader[Outcome](Outcome)


def _outcome(_: int, record: Record) -> Outcome | None:
    try:
        return _read_outcome(record.value or b"")
    except InvalidRecord:
        return None  # not written by the stream processor: it has no truth, so it is not used


def _window(
    truths: dict[Place, Truth], partition: int, record: Record
) -> tuple[Place, SensorWindow] | None:
    place = (partition, record.offset)
    if place not in truths:
        return None
    kind = content_type_of(record.headers)
    try:
        return place, decode_window(record.value or b"", kind)
    except InvalidRecord:
        return None  # the stream processor made it a dead letter


class Archive:
    """Reads pinned ranges from the objects that contain them now."""

    def __init__(self, store: ObjectStore, catalogue: Catalogue, version: int) -> None:
        """Prepare to read ranges of a manifest of the given version; fetches later."""
        self._store = store
        self._catalogue = catalogue
        self._version = version

    def each(
        self, ranges: list[PinnedObject], read: Callable[[int, Record], T | None]
    ) -> Iterator[T]:
        """Read the records of ranges, in order, a few objects ahead.

        Raises:
            RemovedRecordsError: The archive's retention has removed records of a range.
            DataError: The records of a range are not those that were pinned; raised after the last
                one.
        """
        with ThreadPoolExecutor(_FETCHERS) as pool:
            # Batches keep at most a few objects in memory.
            for start in range(0, len(ranges), _FETCHERS):
                batch = [(pinned, self._holders(pinned)) for pinned in ranges[start:][:_FETCHERS]]
                keys = {item.key for _, items in batch for item in items}
                data = dict(zip(keys, pool.map(self._store.get, keys), strict=True))
                for pinned, items in batch:
                    yield from self._range(pinned, [(i.key, data[i.key]) for i in items], read)

    def _holders(self, pinned: PinnedObject) -> list[ArchivedObject]:
        item = _item(pinned)
        return self._catalogue.covering(item.topic, item.partition, item.first, item.last + 1)

    def _range(
        self,
        pinned: PinnedObject,
        objects: list[tuple[str, bytes]],
        read: Callable[[int, Record], T | None],
    ) -> Iterator[T]:
        partition = _item(pinned).partition
        digest = RecordDigest()
        # Version 1 has digests of whole objects, which the same writer reproduces.
        whole: list[Record] = []
        next_offset = pinned.first
        for key, data in objects:
            for record in decode_records(data, key, next_offset, pinned.last + 1):
                next_offset = record.offset + 1
                if self._version == 1:
                    whole.append(record)
                if record.offset >= pinned.until:
                    continue
                digest.add(record)
                if (found := read(partition, record)) is not None:
                    yield found
        made = digest.hexadecimal
        if self._version == 1:
            same = [data for key, data in objects if key == pinned.key]
            made = sha256(same[0] if same else encode_records(whole)).hexdigest()
        if made != pinned.sha256:
            self._check_retention(pinned)
            raise DataError(
                f"the records of {pinned.key} up to {pinned.until} have SHA-256 {made}, not"
                f" {pinned.sha256}: the archive was altered, or records of it were removed"
            )

    def _check_retention(self, pinned: PinnedObject) -> None:
        """Explain records that are not there by the archive's retention, if that is the reason."""
        item = _item(pinned)
        removed = removed_until(read_gaps(self._store, item.topic, item.partition))
        if pinned.first < removed:
            raise RemovedRecordsError(
                f"the archive's retention has removed the records of {item.topic}/{item.partition}"
                f" before position {removed}, and the run reads from {pinned.first} on: it cannot"
                " be made again (MILLRACE_ARCHIVER_RETENTION_DAYS)"
            )


def _item(pinned: PinnedObject) -> ArchivedObject:
    item = parse_key(pinned.key)
    if item is None:
        raise DataError(f"{pinned.key} is no object of the archive: the manifest is damaged")
    return item


def _fetched(
    store: ObjectStore, pool: ThreadPoolExecutor, objects: list[ArchivedObject]
) -> Iterator[tuple[ArchivedObject, bytes]]:
    """Fetch objects in the given order, a few ahead."""
    for start in range(0, len(objects), _FETCHERS):
        batch = objects[start : start + _FETCHERS]
        yield from zip(batch, pool.map(lambda item: store.get(item.key), batch), strict=True)


def _sources(item: ArchivedObject, records: list[Record], spec: ModelSpec) -> list[Source]:
    """List the windows that an object's outcomes of a model came from."""
    outcomes = (_outcome(item.partition, record) for record in records)
    return [one.source for one in outcomes if one is not None and one.model == spec.name]


def _pinned(item: ArchivedObject, end: int, records: list[Record]) -> PinnedObject:
    digest = RecordDigest()
    for record in records:
        digest.add(record)
    until = min(end, item.last + 1)
    return PinnedObject(item.key, digest.hexadecimal, item.first, item.last, until)
