"""The archive: records of a topic as Parquet objects, named by what they hold.

```
archive/<topic>/partition=<p>/<first>-<last>.parquet      offsets, 20 digits
```

A record is archived as it came (key, value, headers, timestamp), so that a replay sends the
same bytes again, and a change of our structures never makes the archive unreadable. The
names alone say what is archived: nothing else has to be kept in step with the objects.
"""

import io
import re
from collections.abc import Iterator, Sequence
from typing import Final, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from contracts.errors import DataError
from contracts.headers import RawHeaders
from infra.object_store import ObjectStore

ROOT: Final = "archive"
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
_KEY: Final = re.compile(
    rf"{ROOT}/(?P<topic>[^/]+)/partition=(?P<partition>\d+)/(?P<first>\d{{20}})-(?P<last>\d{{20}})\.parquet"
)


class ArchivedObject(NamedTuple):
    """An object of the archive; orders by topic, partition and offset."""

    topic: str
    partition: int
    first: int
    last: int

    @property
    def key(self) -> str:
        """Its key in the object store."""
        return f"{prefix_of(self.topic, self.partition)}{self.first:020d}-{self.last:020d}.parquet"


class Record(NamedTuple):
    """A record as it was consumed."""

    offset: int
    timestamp_ms: int
    key: bytes | None
    value: bytes | None
    headers: RawHeaders


def prefix_of(topic: str, partition: int) -> str:
    """Key prefix of a partition's objects."""
    return f"{ROOT}/{topic}/partition={partition}/"


def parse_key(key: str) -> ArchivedObject | None:
    """Read an object's name; None if it is not one of the archive's.

    >>> parse_key(ArchivedObject("outcomes", 3, 0, 41).key)
    ArchivedObject(topic='outcomes', partition=3, first=0, last=41)
    """
    found = _KEY.fullmatch(key)
    if found is None:
        return None
    return ArchivedObject(
        found["topic"], int(found["partition"]), int(found["first"]), int(found["last"])
    )


def encode_records(records: Sequence[Record]) -> bytes:
    """Write records as one Parquet file, zstd.

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
    sink = io.BytesIO()
    table = pa.Table.from_arrays(columns, schema=SCHEMA)
    pq.write_table(table, sink, compression="zstd", row_group_size=max(len(records), 1))
    # What the writer needed it would keep for the next object: a tenth of the archiver's memory.
    pa.default_memory_pool().release_unused()
    return sink.getvalue()


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


def decode_records(data: bytes, where: str) -> Iterator[Record]:
    """Read records back, in order.

    Args:
        data: The object.
        where: Its key, for the error message.

    Raises:
        DataError: It is not a Parquet file of the archive.
    """
    try:
        table = pq.ParquetFile(io.BytesIO(data)).read()  # without pandas, as in `encode_records`
    except (pa.ArrowException, OSError) as error:
        raise DataError(f"{where} cannot be read: {error}") from error
    if not table.schema.equals(SCHEMA):
        raise DataError(f"{where} has other columns than the archive's: {table.schema.names}")
    for batch in table.to_batches():
        for row in zip(*(column.to_pylist() for column in batch.columns), strict=True):
            headers = [(pair["name"], pair["value"]) for pair in row[4] or []]
            yield Record(row[0], row[1], row[2], row[3], headers)


class Catalogue:
    """What is archived, as the store lists it; each object is listed once, since none changes."""

    def __init__(self, store: ObjectStore) -> None:
        """List nothing yet."""
        self._store = store
        self._objects: dict[tuple[str, int], list[ArchivedObject]] = {}

    def refresh(self, topic: str, partition: int) -> list[ArchivedObject]:
        """List a partition's objects.

        Returns:
            All of them, by offset.

        Raises:
            ServerError: The store does not answer.
        """
        known = self._objects.setdefault((topic, partition), [])
        after = known[-1].key if known else None
        for key in self._store.keys(prefix_of(topic, partition), after=after):
            found = parse_key(key)
            if found is not None:
                known.append(found)
        return known

    def end(self, topic: str, partition: int) -> int:
        """Find the offset after the last archived record; 0 if there is none.

        Raises:
            ServerError: The store does not answer.
        """
        objects = self.refresh(topic, partition)
        return max((item.last + 1 for item in objects), default=0)
