"""Archived records as the stream processor reads them."""

from millrace.contracts.events.event import JSON, MSGPACK
from millrace.contracts.headers import CONTENT_TYPE, RawHeaders
from millrace.infra.archive.objects import Record
from millrace.infra.archive.parquet import table_of
from millrace.replay.records import past_records
from millrace.stream_processors.codec.packing import packed_headers

PACKED: RawHeaders = [(CONTENT_TYPE, MSGPACK.encode())]


def test_headers_that_decide_how_a_value_is_read_are_there() -> None:
    """Those of a usual window are cut to its content type; all others are kept whole."""
    headers: list[RawHeaders] = [
        [("ce_id", b"w-1"), *PACKED],
        [("ce_id", b"w-2"), (CONTENT_TYPE, JSON.encode())],
        [*PACKED, ("millrace_origin_topic", b"sensor.windows")],
        [],
        [("x", b""), *PACKED],
    ]
    records = [Record(7 + n, 100 + n, b"k", b"v", given) for n, given in enumerate(headers)]
    found = past_records(table_of(records))
    assert [(r.offset, r.timestamp, r.key, r.value) for r in found] == [
        (r.offset, r.timestamp_ms, r.key, r.value) for r in records
    ]
    assert [r.headers for r in found] == [PACKED, headers[1], headers[2], [], PACKED]
    assert all(r.packed == packed_headers(r.headers) for r in found)


def test_null_keys_and_values() -> None:
    """They stay null; a table of no records is no record."""
    (found,) = past_records(table_of([Record(0, 0, None, None, [])]))
    assert (found.key, found.value) == (None, None)
    assert past_records(table_of([])) == []
