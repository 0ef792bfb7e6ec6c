"""Lists what the archive holds."""

from __future__ import annotations

from collections import defaultdict
from datetime import UTC, datetime

import msgspec

from millrace.infra.archive.index import Entry, named, uncovered
from millrace.infra.archive.objects import ROOT, ArchivedObject, parse_key
from millrace.infra.archive.parquet import decode_records
from millrace.infra.object_store import ObjectStore

Place = tuple[str, int]


class ArchiveLine(msgspec.Struct, frozen=True):
    """A partition of the archive, as `millrace archive ls` shows it.

    Attributes:
        topic: The topic, without the namespace.
        partition: Its partition.
        objects: Number of objects that hold its records.
        bytes: Their size.
        first: Position of the first record.
        until: Position after the last record.
        oldest: Kafka timestamp of the first record.
        newest: Kafka timestamp of the last one.
    """

    topic: str
    partition: int
    objects: int
    bytes: int
    first: int
    until: int
    oldest: datetime
    newest: datetime


def archive_lines(store: ObjectStore, topic: str | None = None) -> list[ArchiveLine]:
    """List the archive's partitions, of one topic or of all.

    Raises:
        DataError: An object cannot be read.
        ServerError: The store does not answer.
    """
    lines = []
    for (name, partition), listed in sorted(listed_entries(store, topic).items()):
        entries = uncovered(listed)
        first, last = named(name, partition, (entries[0], entries[-1]))
        lines.append(
            ArchiveLine(
                name,
                partition,
                len(entries),
                sum(each.bytes for each in entries),
                first.first,
                last.last + 1,
                _moments(store, first)[0],
                _moments(store, last)[1],
            )
        )
    return lines


def listed_entries(store: ObjectStore, topic: str | None) -> dict[Place, list[Entry]]:
    """List all objects of the archive, by topic and partition.

    Args:
        store: The archive's store.
        topic: List this topic only.

    Raises:
        ServerError: The store does not answer.
    """
    found: dict[Place, list[Entry]] = defaultdict(list)
    for one in store.objects(f"{ROOT}/" if topic is None else f"{ROOT}/{topic}/"):
        item = parse_key(one.key)
        if item is not None:
            entry = Entry(item.first, item.last, one.bytes, date=item.date)
            found[item.topic, item.partition].append(entry)
    return found


def _moments(store: ObjectStore, item: ArchivedObject) -> tuple[datetime, datetime]:
    """Kafka timestamps of an object's first and last record."""
    stamps = [each.timestamp_ms for each in decode_records(store.get(item.key), item.key)]
    first, last = (datetime.fromtimestamp(ms / 1000, UTC) for ms in (stamps[0], stamps[-1]))
    return first, last
