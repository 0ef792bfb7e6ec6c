"""Content of an archived object: a topic's records as a Parquet file.

Columns are a record's fields (`Record`), whatever the topic. The metadata of a file name its topic
and the CloudEvents types of its events (`millrace.topic`, `millrace.event`), and the position that
it follows (`millrace.follows`): that after the last record of the object before it, or `START` for
a partition's first one. So a missing object is detected without Kafka, in whose logs offsets
without a record are ordinary: transaction markers, and records that were compacted away.
"""

import io
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from millrace.contracts.topics import Topic
from millrace.contracts.wire.messages import types_on
from millrace.infra.archive.objects import DamagedObjectError, Record

#: Bytes and records at which a row group of a merged object is complete: a reader holds one in
#: memory at a time.
_GROUP_BYTES: Final = 4 << 20
_GROUP_RECORDS: Final = 5_000
CONTENT_TYPE: Final = "application/vnd.apache.parquet"
_PAIR: Final = pa.struct([pa.field("name", pa.string()), pa.field("value", pa.binary())])
SCHEMA: Final = pa.schema(
    [
        pa.field("offset", pa.int64(), nullable=False),
        pa.field("timestamp_ms", pa.int64(), nullable=False),
        pa.field("key", pa.binary()),
        pa.field("value", pa.binary()),
        pa.field("headers", pa.list_(_PAIR)),
    ]
)
#: What the first object of a partition follows.
START: Final = -1
#: Metadata of a file.
_FOLLOWS: Final = b"millrace.follows"
TOPIC: Final = b"millrace.topic"
EVENT: Final = b"millrace.event"
_ERRORS: Final = (pa.ArrowException, OSError)


def encode_records(
    records: Sequence[Record], follows: int | None = None, topic: Topic | None = None
) -> bytes:
    """Write records as one Parquet file, zstd.

    Args:
        records: The records, by offset.
        follows: Position after the last record of the object before; `START` if there is none;
            None says nothing of it.
        topic: Their topic; None says nothing of it, either.
    """
    sink = io.BytesIO()
    table = table_of(records).replace_schema_metadata(_metadata(follows, topic))
    pq.write_table(table, sink, compression="zstd", row_group_size=max(len(records), 1))
    # Arrow's pool would keep the writer's memory for the next object: a tenth of the archiver's.
    pa.default_memory_pool().release_unused()
    return sink.getvalue()


def table_of(records: Sequence[Record]) -> pa.Table:
    """Build a table of `SCHEMA`.

    The columns are built from buffers: ``pa.array`` would import pandas, which takes seconds
    and more memory than all the rest of the archiver.
    """
    headers = [pair for record in records for pair in record.headers]
    pairs = pa.StructArray.from_arrays(
        [
            _bytes_column([name.encode() for name, _ in headers], pa.string()),
            _bytes_column([value for _, value in headers], pa.binary()),
        ],
        fields=list(_PAIR),
    )
    ends = np.cumsum([0, *(len(record.headers) for record in records)])
    columns = [
        _integer_column([record.offset for record in records]),
        _integer_column([record.timestamp_ms for record in records]),
        _bytes_column([record.key for record in records], pa.binary()),
        _bytes_column([record.value for record in records], pa.binary()),
        pa.Array.from_buffers(
            SCHEMA.field("headers").type,
            len(records),
            [None, pa.py_buffer(ends.astype(np.int32))],
            children=[pairs],
        ),
    ]
    return pa.Table.from_arrays(columns, schema=SCHEMA)


def _metadata(follows: int | None, topic: Topic | None) -> dict[bytes, bytes] | None:
    said = {} if follows is None else {_FOLLOWS: b"%d" % follows}
    if topic is not None:
        said[TOPIC] = topic.name.encode()
        said[EVENT] = ",".join(types_on(topic)).encode()
    return said or None


def metadata_of(data: bytes, where: str) -> dict[bytes, bytes]:
    """Read the metadata that `encode_records` wrote.

    Args:
        data: The object.
        where: Its key, for the error message.

    Raises:
        DamagedObjectError: It is not a Parquet file of the archive.
    """
    try:
        return pq.read_schema(io.BytesIO(data)).metadata or {}
    except _ERRORS as error:
        raise DamagedObjectError(where, f"cannot be read: {error}") from error


def follows_of(data: bytes, where: str) -> int | None:
    """Read which position an object follows; None if it does not say.

    Raises:
        DamagedObjectError: It is not a Parquet file of the archive.
    """
    said = metadata_of(data, where).get(_FOLLOWS)
    try:
        return None if said is None else int(said)
    except ValueError as error:
        raise DamagedObjectError(where, f"follows {said!r}, which is no position") from error


def _integer_column(values: list[int]) -> pa.Array:
    buffer = pa.py_buffer(np.array(values, np.int64))
    return pa.Array.from_buffers(pa.int64(), len(values), [None, buffer])


def _bytes_column(values: Sequence[bytes | None], kind: pa.DataType) -> pa.Array:
    """Build a column of strings or bytes, null where None."""
    ends = np.cumsum([0, *(len(value or b"") for value in values)]).astype(np.int32)
    there = np.packbits(np.array([v is not None for v in values], np.bool_), bitorder="little")
    buffers = [
        pa.py_buffer(there),
        pa.py_buffer(ends),
        pa.py_buffer(b"".join(v or b"" for v in values)),
    ]
    return pa.Array.from_buffers(kind, len(values), buffers)


def decode_records(
    data: bytes, where: str, first: int = 0, until: int | None = None
) -> Iterator[Record]:
    """Read records back, in order, one row group in memory at a time.

    Args:
        data: The object.
        where: Its key, for the error message.
        first: First offset wanted.
        until: Offset after the last one wanted; all when None.

    Raises:
        DamagedObjectError: It is not a Parquet file of the archive.
    """
    for table in decode_tables(data, where, first, until):
        yield from records_in(table)


def records_in(table: pa.Table) -> Iterator[Record]:
    """Convert the rows of a table of `SCHEMA`."""
    for batch in table.to_batches():
        for row in zip(*(column.to_pylist() for column in batch.columns), strict=True):
            headers = [(pair["name"], pair["value"]) for pair in row[4] or []]
            yield Record(row[0], row[1], row[2], row[3], headers)


def merge_objects(parts: Iterable[tuple[str, bytes]]) -> bytes:
    """Write the records of objects as one object, each offset once, with the first one's metadata.

    One row group and the result are in memory at a time. Records are moved as columns; none
    becomes a Python object.

    Args:
        parts: Keys and contents, by first offset; at least one.

    Raises:
        DamagedObjectError: A part is not a Parquet file of the archive.
    """
    sink = io.BytesIO()
    waiting: list[pa.Table] = []
    next_offset = 0
    remaining = iter(parts)
    begin = next(remaining)
    schema = SCHEMA.with_metadata(metadata_of(begin[1], begin[0]))
    with pq.ParquetWriter(sink, schema, compression="zstd") as writer:
        for key, data in chain([begin], remaining):
            for table in decode_tables(data, key, next_offset, None):
                next_offset = table.column("offset")[-1].as_py() + 1
                waiting.append(table)
                if _is_group(waiting):
                    _write_group(writer, waiting)
        if waiting:
            _write_group(writer, waiting)
    pa.default_memory_pool().release_unused()
    return sink.getvalue()


def decode_tables(
    data: bytes, where: str, first: int = 0, until: int | None = None
) -> Iterator[pa.Table]:
    """Read records back as tables, a row group at a time; see `decode_records`."""
    try:
        file = pq.ParquetFile(io.BytesIO(data))
        if not file.schema_arrow.equals(SCHEMA):
            raise DamagedObjectError(
                where, f"has other columns than the archive's: {file.schema_arrow.names}"
            )
        for number in range(file.num_row_groups):
            bounds = file.metadata.row_group(number).column(0).statistics
            known = bounds is not None and bounds.has_min_max
            if known and (bounds.max < first or (until is not None and bounds.min >= until)):
                continue
            table = file.read_row_group(number)
            offsets = _integers(table.column("offset").combine_chunks())
            begin = int(np.searchsorted(offsets, first))
            end = len(offsets) if until is None else int(np.searchsorted(offsets, until))
            if begin < end:
                yield table.slice(begin, end - begin)
    except _ERRORS as error:
        raise DamagedObjectError(where, f"cannot be read: {error}") from error


def _integers(column: pa.Array) -> npt.NDArray[np.int64]:
    """View the memory of a column without nulls: `to_numpy` would import pandas."""
    values = np.frombuffer(column.buffers()[1], np.int64)
    return values[column.offset : column.offset + len(column)]


def _is_group(tables: list[pa.Table]) -> bool:
    rows = sum(table.num_rows for table in tables)
    size: int = sum(table.nbytes for table in tables)
    return rows >= _GROUP_RECORDS or size >= _GROUP_BYTES


def _write_group(writer: pq.ParquetWriter, tables: list[pa.Table]) -> None:
    """Write tables as one row group, and clear the list."""
    table = pa.concat_tables(tables)
    writer.write_table(table, row_group_size=max(table.num_rows, 1))
    tables.clear()


class Footer(NamedTuple):
    """What the end of an object says of its records.

    Attributes:
        records: Their number.
        oldest_ms: Smallest Kafka timestamp.
        newest_ms: Largest one.
    """

    records: int
    oldest_ms: int
    newest_ms: int


def footer_in(tail: bytes) -> Footer | None:
    """Read an object's footer; None if its last bytes do not hold it.

    Args:
        tail: Last bytes of the object.
    """
    try:
        file = pq.read_metadata(io.BytesIO(tail))
    except _ERRORS:
        return None
    groups = [file.row_group(number) for number in range(file.num_row_groups)]
    bounds = [group.column(SCHEMA.get_field_index("timestamp_ms")).statistics for group in groups]
    if not bounds or any(one is None or not one.has_min_max for one in bounds):
        return None
    return Footer(file.num_rows, min(one.min for one in bounds), max(one.max for one in bounds))
