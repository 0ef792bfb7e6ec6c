"""Verifies that each record that was archived is there, once and unaltered."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import pairwise
from typing import Literal

import msgspec
from confluent_kafka import TopicPartition

from millrace.console.operations.archive.listing import Place, listed_entries
from millrace.contracts.errors import DataError
from millrace.contracts.events.topic_epoch import parts_of, position_of
from millrace.contracts.topics import ARCHIVED, TOPICS
from millrace.contracts.wire.groups import ARCHIVER
from millrace.infra.archive.catalogue import entries_from, read_index
from millrace.infra.archive.continuity import Link, find_breaks
from millrace.infra.archive.gaps import Gap, read_gaps
from millrace.infra.archive.index import named
from millrace.infra.archive.objects import ArchivedObject, DamagedObjectError
from millrace.infra.archive.parquet import decode_records, follows_of
from millrace.infra.kafka.clients import reader, watermarks
from millrace.infra.kafka.log_reader import read_ranges
from millrace.infra.object_store import AlteredObjectError, MissingObjectError, ObjectStore
from millrace.infra.progress.committed import committed_offsets
from millrace.infra.settings import Settings


class Problem(msgspec.Struct, frozen=True):
    """Positions at which a partition's archive is not what it should be.

    Attributes:
        kind: ``missing``: archived once, and not there. ``doubled``: in two objects. ``altered``:
            the object's bytes are not those that were stored. ``damaged``: it is no Parquet file
            of the archive, or has other records than its key says.
        first: First position.
        until: Position after the last one.
        detail: What was found.
    """

    kind: Literal["missing", "doubled", "altered", "damaged"]
    first: int
    until: int
    detail: str


class Verified(msgspec.Struct, frozen=True):
    """A partition of the archive, verified.

    Attributes:
        topic: The topic, without the namespace.
        partition: Its partition.
        objects: Number of objects that were read.
        records: Number of records in them.
        problems: What is wrong, by position; empty if nothing is.
        gaps: Positions that are known to be missing, or incomplete, with the reasons.
        compared: Whether the end was compared with the topic.
    """

    topic: str
    partition: int
    objects: int
    records: int
    problems: tuple[Problem, ...] = ()
    gaps: tuple[Gap, ...] = ()
    compared: bool = False


def verify_archive(
    store: ObjectStore,
    settings: Settings | None,
    topic: str | None = None,
    progress: Callable[[str], None] = lambda _: None,
) -> Iterator[Verified]:
    """Read the whole archive, and check that each record that was archived is there, once.

    Checked are each object's SHA-256, its records against its key, and that each object follows
    the one before. Where a broker answers, the end is compared with the archiver's committed
    offset: records between both were archived, too. What the archive's retention has removed is a
    known gap, and so is what the archiver could not read.

    Args:
        store: The archive's store.
        settings: Of the broker; None compares nothing with it.
        topic: Verify this topic only.
        progress: Receives each partition's name before it is read.

    Yields:
        Each partition, by topic.

    Raises:
        ServerError: The store or the broker does not answer.
    """
    places = set(listed_entries(store, topic))
    if settings is not None:
        places |= _committed_places(settings, topic)
    for place in sorted(places):
        progress(f"{place[0]}/{place[1]}")
        found = _look(store, settings, place)
        if found.problems:  # the archiver may have merged meanwhile
            again = _look(store, settings, place)
            lasting = tuple(each for each in again.problems if each in found.problems)
            found = msgspec.structs.replace(again, problems=lasting)
        yield found


def _look(store: ObjectStore, settings: Settings | None, place: Place) -> Verified:
    """Verify a partition once."""
    index = read_index(store, *place)
    retired = set() if index is None else set(named(*place, index.retired))
    listed = [one for one in named(*place, entries_from(store, *place, 0)) if one not in retired]
    problems: list[Problem] = []
    links: list[Link] = []
    records = 0
    for item in sorted(listed, key=lambda each: (each.first, -each.last)):
        try:
            data = store.get(item.key)
            links.append(Link(item, follows_of(data, item.key)))
            records += _count(data, item)
        except MissingObjectError:
            continue  # merged and removed since it was listed
        except DataError as error:
            kind: Literal["altered", "damaged"] = (
                "altered" if isinstance(error, AlteredObjectError) else "damaged"
            )
            problems.append(Problem(kind, item.first, item.last + 1, str(error)))
            if not links or links[-1].item != item:
                links.append(Link(item, None))
    try:
        gaps = read_gaps(store, *place)
    except DamagedObjectError as error:
        gaps = ()
        problems.append(Problem("damaged", 0, 1, str(error)))
    problems += [
        Problem(
            each.kind,
            each.first,
            each.until,
            "no object has these positions"
            if each.kind == "missing"
            else "several objects have these positions",
        )
        for each in find_breaks(links, gaps)
    ]
    if settings is not None:
        problems += _missing_end(settings, place, max((e.last + 1 for e in listed), default=0))
    problems.sort(key=lambda each: (each.first, each.until))
    compared = settings is not None
    return Verified(*place, len(links), records, tuple(problems), gaps, compared)


def _count(data: bytes, item: ArchivedObject) -> int:
    """Count the records of an object.

    Raises:
        DamagedObjectError: They are not those that its key names.
    """
    offsets = [record.offset for record in decode_records(data, item.key)]
    ascending = all(a < b for a, b in pairwise(offsets))
    if not offsets or not ascending or (offsets[0], offsets[-1]) != (item.first, item.last):
        raise DamagedObjectError(item.key, f"has records {offsets[:1]} to {offsets[-1:]}")
    return len(offsets)


def _missing_end(settings: Settings, place: Place, end: int) -> list[Problem]:
    """Find records that the archiver has passed, and that are not in the archive.

    Raises:
        ServerError: The broker does not answer.
    """
    topic = next((topic for topic in TOPICS if topic.name == place[0]), None)
    if topic is None:
        return []
    committed = committed_offsets(settings, ARCHIVER, {topic: [place[1]]})[topic].get(place[1])
    incarnation, begin = parts_of(end)
    if committed is None or committed.offset <= begin:
        return []
    client = reader(settings)
    try:
        name = settings.named(topic.name)
        low, high = watermarks(client, TopicPartition(name, place[1]))
        span = max(begin, low), min(committed.offset, high)
        first = next(
            (message.offset() for message in read_ranges(client, name, {place[1]: span})), None
        )
    finally:
        client.close()
    if first is None:
        return []
    return [
        Problem(
            "missing",
            position_of(incarnation, first),
            position_of(incarnation, committed.offset),
            "the archiver has committed these positions, and no object has them",
        )
    ]


def _committed_places(settings: Settings, topic: str | None) -> set[Place]:
    """Partitions of which the archiver has committed an offset."""
    asked = {
        each: range(settings.kafka_partitions if each.by_asset else 1)
        for each in ARCHIVED
        if topic in (None, each.name)
    }
    found = committed_offsets(settings, ARCHIVER, asked)
    return {
        (each.name, partition)
        for each, places in found.items()
        for partition, committed in places.items()
        if committed.offset > 0
    }
