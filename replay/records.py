"""Archived records as the stream processor validates them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from millrace.contracts.events.event import MSGPACK
from millrace.contracts.headers import CONTENT_TYPE, RawHeaders
from millrace.replay.plan import Plan
from millrace.stream_processors.codec.packing import packed_headers

#: Headers of a window in MessagePack, as far as they decide how it is read.
_MSGPACK: Final[RawHeaders] = [(CONTENT_TYPE, MSGPACK.encode())]
_PACKED: Final = packed_headers(_MSGPACK)


class PastRecord(NamedTuple):
    """A record of `sensor.windows`; a `stream_processors.transport.records.Record`.

    Attributes:
        offset: Its position.
        timestamp: Its Kafka timestamp, milliseconds UTC.
        key: Its key.
        value: Its value.
        packed: Its headers in Kafka's form; of a window in MessagePack the content type only.
        headers: The same headers.
    """

    offset: int
    timestamp: int
    key: bytes | None
    value: bytes | None
    packed: bytes
    headers: RawHeaders


def wanted_from(plan: Plan, first: int) -> Callable[[PastRecord], bool]:
    """Whether a record is replayed: from a position on, and within the replay's time."""
    return lambda record: record.offset >= first and plan.covers(record.timestamp)


def past_records(table: pa.Table) -> list[PastRecord]:
    """Convert a table of the archive's schema, see `infra.archive.parquet.SCHEMA`."""
    table = table.combine_chunks()
    if not table.num_rows:
        return []
    columns = (
        table.column(name).to_pylist() for name in ("offset", "timestamp_ms", "key", "value")
    )
    packed, headers = _headers(table.column("headers").chunk(0))
    return list(map(PastRecord, *columns, packed, headers))


def _headers(column: pa.ListArray) -> tuple[list[bytes], list[RawHeaders]]:
    """Packed headers and headers of each row; only those of unusual rows are decoded."""
    packed, headers = [_PACKED] * len(column), [_MSGPACK] * len(column)
    for row in np.flatnonzero(~_ends_in_msgpack(column)).tolist():
        headers[row] = [(pair["name"], pair["value"]) for pair in column[row].as_py() or []]
        packed[row] = packed_headers(headers[row])
    return packed, headers


def _ends_in_msgpack(column: pa.ListArray) -> npt.NDArray[np.bool_]:
    """Whether the last header of each row is the content type MessagePack."""
    offsets = np.asarray(column.offsets)
    has_any = offsets[1:] > offsets[:-1]
    if not has_any.any():
        return has_any
    lasts = pa.array(np.where(has_any, offsets[1:] - 1, 0))
    names, values = (column.values.field(name).take(lasts) for name in ("name", "value"))
    found = pc.and_(pc.equal(names, CONTENT_TYPE), pc.equal(values, MSGPACK.encode()))
    return np.asarray(pc.fill_null(found, False)) & has_any
