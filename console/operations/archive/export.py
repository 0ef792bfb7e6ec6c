"""Exports a topic from the archive into a file, decoded.

archived records ─► rows (`topic_rows`) ─► batches ─► draft ─► file

The file appears when it is complete. A batch of rows is in memory at a time.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import datetime
from pathlib import Path
from typing import Final

import msgspec
import pyarrow as pa

from millrace.console.operations.archive.export_file import Write, format_of
from millrace.console.operations.archive.reading import TimeSpan, read_records
from millrace.console.operations.archive.topic_rows import (
    PROBLEM,
    Row,
    TopicRows,
    rows_of,
    undecoded,
)
from millrace.contracts.errors import DataError, SettingsError
from millrace.contracts.topics import ARCHIVED, Topic
from millrace.infra.archive.catalogue import archived_partitions
from millrace.infra.archive.gaps import read_gaps
from millrace.infra.archive.objects import Record
from millrace.infra.files import draft_of
from millrace.infra.object_store import ObjectStore

#: Rows of a batch, and bytes of the records in it.
_ROWS: Final = 5_000
_BYTES: Final = 4 << 20
_NOT_ARROW: Final = (pa.ArrowException, OverflowError, ValueError, TypeError)


class MissingRange(msgspec.Struct, frozen=True):
    """Positions that an exported partition lacks.

    Attributes:
        partition: The partition.
        first: First position.
        until: Position after the last one.
        why: The reason, see `infra.archive.gaps`.
    """

    partition: int
    first: int
    until: int
    why: str


class Exported(msgspec.Struct, frozen=True):
    """What was exported.

    Attributes:
        topic: The topic, without the namespace.
        file: The file.
        rows: Number of records, each a row.
        undecoded: Number of records that could not be decoded; their rows say why.
        bytes: Size of the file.
        partitions: The partitions.
        oldest: Smallest Kafka timestamp; None without rows.
        newest: Largest Kafka timestamp; None without rows.
        missing: Positions of these partitions that the archive is known to lack.
    """

    topic: str
    file: str
    rows: int
    undecoded: int
    bytes: int
    partitions: tuple[int, ...]
    oldest: datetime | None
    newest: datetime | None
    missing: tuple[MissingRange, ...]


def archived_topic(name: str) -> Topic:
    """Find an archived topic by its name.

    Raises:
        SettingsError: There is none; names those that are.
    """
    known = {topic.name: topic for topic in ARCHIVED}
    if name not in known:
        raise SettingsError(f"topic {name!r} is not archived; choose one of {', '.join(known)}")
    return known[name]


def export_topic(
    store: ObjectStore,
    topic: Topic,
    path: Path,
    span: TimeSpan,
    partition: int | None = None,
    progress: Callable[[str], None] = lambda _: None,
) -> Exported:
    """Write the records of a topic into a file.

    Args:
        store: The archive's store.
        topic: The topic.
        path: The file; one of this name is replaced. The name's end chooses the format.
        span: Kafka timestamps of the records.
        partition: Export this partition only.
        progress: Receives how far it is.

    Raises:
        DataError: Nothing of the topic is archived, or an object is missing or cannot be read.
        ServerError: The store does not answer.
        SettingsError: The file cannot be written, or there is no such partition.
    """
    chosen = _partitions(store, topic, partition)
    write_file, rows = format_of(path), rows_of(topic)
    tally = _Tally()
    try:
        with draft_of(path) as draft:
            with write_file(draft, rows.schema) as write:
                for number in chosen:
                    records = read_records(store, topic.name, number, span, _told(progress, number))
                    _write(write, rows, number, records, tally)
            size = draft.stat().st_size
    except OSError as error:
        raise SettingsError(f"{path} cannot be written: {error.strerror or error}") from error
    missing = [
        MissingRange(number, gap.first, gap.until, gap.why)
        for number in chosen
        for gap in read_gaps(store, topic.name, number)
    ]
    return Exported(
        topic.name,
        str(path),
        tally.rows,
        tally.undecoded,
        size,
        tuple(chosen),
        tally.oldest,
        tally.newest,
        tuple(missing),
    )


class _Tally:
    """Counts what is written."""

    def __init__(self) -> None:
        self.rows = self.undecoded = 0
        self.oldest: datetime | None = None
        self.newest: datetime | None = None

    def add(self, rows: Sequence[Row]) -> None:
        """Count rows."""
        self.rows += len(rows)
        self.undecoded += sum(row.get(PROBLEM) is not None for row in rows)
        moments = [at for row in rows if (at := row["record_timestamp"]) is not None]
        if moments:
            self.oldest = min([*moments, *filter(None, [self.oldest])])
            self.newest = max([*moments, *filter(None, [self.newest])])


def _partitions(store: ObjectStore, topic: Topic, partition: int | None) -> list[int]:
    there = archived_partitions(store, topic.name)
    if not there:
        raise DataError(f"nothing of {topic.name} is archived yet; is the archiver running?")
    if partition is None:
        return there
    if partition not in there:
        raise SettingsError(
            f"the archive has no partition {partition} of {topic.name}; it has"
            f" {', '.join(map(str, there))}"
        )
    return [partition]


def _told(progress: Callable[[str], None], partition: int) -> Callable[[int, int], None]:
    return lambda done, of: progress(f"partition {partition}: {done} of {of} objects")


def _write(
    write: Write, rows: TopicRows, partition: int, records: Iterable[Record], tally: _Tally
) -> None:
    """Write a partition's records, a batch at a time."""
    for batch in _batches(records):
        made = [rows.row(partition, record) for record in batch]
        try:
            encoded = pa.RecordBatch.from_pylist(made, rows.schema)
        except _NOT_ARROW:  # a number beyond 64 bits, for example
            made = [
                row
                if (why := _problem(row, rows.schema)) is None
                else undecoded(partition, record, why)
                for row, record in zip(made, batch, strict=True)
            ]
            encoded = pa.RecordBatch.from_pylist(made, rows.schema)
        tally.add(made)
        write(encoded)


def _problem(row: Row, schema: pa.Schema) -> str | None:
    """Why a row cannot be stored; None if it can."""
    try:
        pa.RecordBatch.from_pylist([row], schema)
    except _NOT_ARROW as error:
        return f"undecodable: {error}"
    return None


def _batches(records: Iterable[Record]) -> Iterator[list[Record]]:
    """Cut records into batches by number and by size."""
    batch: list[Record] = []
    size = 0
    for record in records:
        batch.append(record)
        size += len(record.value or b"")
        if len(batch) >= _ROWS or size >= _BYTES:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch
