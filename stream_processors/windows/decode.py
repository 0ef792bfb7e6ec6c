"""Decodes windows and checks their form; `validation` checks their model and readings.

A batch is first checked column by column, which takes half of the time. Only if it holds anything
other than valid windows in MessagePack, it is checked record by record, cheap checks first. Both
paths give the same result for a record.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from operator import methodcaller
from typing import Final, NamedTuple

from millrace.contracts.events.event import MSGPACK
from millrace.contracts.events.window import Layout, WindowBody, read_window, read_windows
from millrace.contracts.headers import CONTENT_TYPE, content_type_of
from millrace.contracts.invalid_record import InvalidRecord
from millrace.contracts.names import MAX_NAME_BYTES, is_name, name_problem, segment_problem
from millrace.contracts.topics import MAX_WINDOW_BYTES
from millrace.stream_processors.codec.packing import packed_headers
from millrace.stream_processors.transport.records import Payload, problem_of

#: Event times outside this range show that a device's clock is wrong.
EARLIEST_MS: Final = 946_684_800_000  # 2000-01-01
LATEST_AHEAD_MS: Final = 86_400_000
#: Usual last bytes of the headers of a window in MessagePack; headers that end so count as such.
_IN_MSGPACK: Final = packed_headers([(CONTENT_TYPE, MSGPACK.encode())])[1:]
_ends_in_msgpack = methodcaller("endswith", _IN_MSGPACK)


class DecodedWindows(NamedTuple):
    """Records of a batch that are windows by their form.

    Attributes:
        rows: Place of each in its batch, ascending.
        bodies: The decoded body of each.
        layouts: The layout of each.
    """

    rows: Sequence[int]
    bodies: list[WindowBody]
    layouts: list[Layout]


def decode_windows(
    records: Sequence[Payload], latest_ms: int, refused: dict[int, InvalidRecord]
) -> DecodedWindows:
    """Decode a batch.

    Args:
        records: The batch.
        latest_ms: Latest event time that is plausible, milliseconds UTC.
        refused: Why a row is no window, by row; refused rows are added.
    """
    found = _together(records, latest_ms)
    if found is not None:
        return found
    rows: list[int] = []
    bodies: list[WindowBody] = []
    layouts: list[Layout] = []
    for row, record in enumerate(records):
        try:
            body, layout = _form(record, latest_ms)
        except InvalidRecord as problem:
            refused[row] = problem.kept()
            continue
        rows.append(row)
        bodies.append(body)
        layouts.append(layout)
    return DecodedWindows(rows, bodies, layouts)


def _together(records: Sequence[Payload], latest_ms: int) -> DecodedWindows | None:
    """Check a batch by columns; None if any record needs its own check or is refused."""
    values = [record.value or b"" for record in records]
    if not values or not all(map(_ends_in_msgpack, [record.packed for record in records])):
        return None
    if max(map(len, values)) > MAX_WINDOW_BYTES:
        return None
    read = read_windows(values)
    if read is None:
        return None
    bodies, layouts = read
    assets = [body.asset.encode() for body in bodies]
    names = set(assets)
    starts = [body.start_ms for body in bodies]
    periods = {body.period_seconds for body in bodies}
    is_good = (
        [record.key for record in records] == assets
        and max(map(len, names)) <= MAX_NAME_BYTES  # first: `is_name` caches its arguments
        and all(map(is_name, names))
        and not any(map(segment_problem, {body.segment for body in bodies}))
        and all(0 < period < math.inf for period in periods)
        and min(starts) >= EARLIEST_MS
        and max(starts) <= latest_ms
    )
    return DecodedWindows(range(len(records)), bodies, layouts) if is_good else None


def _form(record: Payload, latest_ms: int) -> tuple[WindowBody, Layout]:
    """Check a single record.

    Raises:
        InvalidRecord: Why it cannot be used.
    """
    if (problem := problem_of(record)) is not None:
        raise problem
    key, value = record.key, record.value
    if not key:
        raise InvalidRecord("empty_key", "the record has no key; send the asset's name")
    if value is None:
        raise InvalidRecord("undecodable", "the record has no value")
    if len(value) > MAX_WINDOW_BYTES:
        raise InvalidRecord(
            "oversized",
            f"{len(value)} bytes; a window may have {MAX_WINDOW_BYTES}: send shorter ones",
        )
    body, layout = read_window(value, _content_type(record))
    if (wrong := name_problem(body.asset)) is not None:
        raise InvalidRecord("bad_name", f"the asset name {body.asset[:40]!r} {wrong}")
    if (wrong := segment_problem(body.segment)) is not None:
        raise InvalidRecord("bad_name", f"the segment name {body.segment[:40]!r} {wrong}")
    if body.asset.encode() != key:
        raise InvalidRecord(
            "key_mismatch", f"the key is not the window's asset {body.asset!r}; send it as key"
        )
    if not 0 < body.period_seconds < math.inf:
        raise InvalidRecord(
            "bad_period", f"period_seconds is {body.period_seconds}; it must be positive"
        )
    if not EARLIEST_MS <= body.start_ms <= latest_ms:
        raise InvalidRecord(
            "implausible_time",
            f"start_ms {body.start_ms} is before 2000 or more than a day ahead; set the"
            " device's clock, and send milliseconds since 1970 UTC",
        )
    return body, layout


def _content_type(record: Payload) -> str | None:
    return MSGPACK if _ends_in_msgpack(record.packed) else content_type_of(record.headers)
