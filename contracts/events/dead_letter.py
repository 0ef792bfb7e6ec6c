"""A refused record, stored unchanged, with its origin and the reason.

The value and key are the original bytes, and the original headers are kept, so that a mended
record can be retried. Headers of our own describe the failure. A letter that would be too large is
cut, and marked as cut (`contracts.wire.cut_letter`).

A retried record carries its *first origin*: the place of the record that was refused first,
however often it has been refused and retried since. It is sent to the first origin's partition.
So the reader of that partition can recognise two retries of one record, and accept at most one of
them.

>>> first = Origin("sensor.windows", 3, 417)
>>> again = headers_again([("content-type", b"application/json")], first)
>>> origin_of(again, "sensor.windows", 3, 9001)
Origin(topic='sensor.windows', partition=3, offset=417)
>>> origin_of([], "sensor.windows", 3, 9001).offset
9001
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final, NamedTuple

from millrace.contracts.headers import SOURCE_OFFSET, RawHeaders, header
from millrace.contracts.invalid_record import InvalidRecord

REASON = "millrace_reason"
DETAIL = "millrace_detail"
TOPIC = "millrace_topic"
PARTITION = "millrace_partition"
OFFSET = "millrace_offset"
TIMESTAMP = "millrace_timestamp_ms"
#: Headers with the first origin of a retried record: their common prefix, and their names.
ORIGIN_PREFIX = "millrace_origin_"
ORIGIN_TOPIC = f"{ORIGIN_PREFIX}topic"
ORIGIN_PARTITION = f"{ORIGIN_PREFIX}partition"
ORIGIN_OFFSET = f"{ORIGIN_PREFIX}offset"
#: Reason of a record with an invalid first origin: its own place is its letter's first origin.
BAD_ORIGIN: Final = "bad_origin"
#: Of a batch whose records could not be decoded: its first offset, and its declared record count.
#: The letter's offset is that of the last record, its value the batch as it was fetched.
BATCH_FIRST_OFFSET = "millrace_batch_first_offset"
BATCH_RECORDS = "millrace_batch_records"
#: Of a letter that is cut (`cut_letter`): the value's size and digest, the size of the head in the
#: letter, its key in the object store or why it has none; the size of a key or of headers, if cut.
VALUE_BYTES = "millrace_value_bytes"
VALUE_SHA256 = "millrace_value_sha256"
VALUE_HEAD = "millrace_value_head_bytes"
VALUE_OBJECT = "millrace_value_object"
VALUE_NOTE = "millrace_value_note"
KEY_BYTES = "millrace_key_bytes"
HEADERS_BYTES = "millrace_headers_bytes"
#: Longest detail, characters: it may quote the record, and headers must stay small.
MOST_DETAIL: Final = 1000

#: Headers with reason and origin, which are no part of the original record.
OURS: Final = frozenset(
    {
        REASON,
        DETAIL,
        TOPIC,
        PARTITION,
        OFFSET,
        TIMESTAMP,
        SOURCE_OFFSET,
        BATCH_FIRST_OFFSET,
        BATCH_RECORDS,
        VALUE_BYTES,
        VALUE_SHA256,
        VALUE_HEAD,
        VALUE_OBJECT,
        VALUE_NOTE,
        KEY_BYTES,
        HEADERS_BYTES,
    }
)
_ORIGIN: Final = frozenset({ORIGIN_TOPIC, ORIGIN_PARTITION, ORIGIN_OFFSET})


class Origin(NamedTuple):
    """The place of a record.

    Attributes:
        topic: Its topic, without the namespace.
        partition: Its partition.
        offset: Its offset.
    """

    topic: str
    partition: int
    offset: int


def dead_letter_headers(
    original: RawHeaders,
    problem: InvalidRecord,
    *,
    topic: str,
    partition: int,
    offset: int,
    timestamp_ms: int,
) -> RawHeaders:
    """Original headers plus reason, detail and origin.

    They replace such headers of an earlier dead letter of a retried record; its first origin
    stays.
    """
    ours = {
        REASON: problem.reason,
        DETAIL: problem.detail[:MOST_DETAIL],
        TOPIC: topic,
        PARTITION: str(partition),
        OFFSET: str(offset),
        TIMESTAMP: str(timestamp_ms),
    }
    kept = original_headers(original)
    return [*kept, *((name, text.encode(errors="replace")) for name, text in ours.items())]


def original_headers(headers: Iterable[tuple[str, bytes]]) -> RawHeaders:
    """A dead letter's headers without reason and origin."""
    return [(name, value) for name, value in headers if name not in OURS]


def headers_again(headers: Iterable[tuple[str, bytes]], origin: Origin) -> RawHeaders:
    """Headers with which a refused record is retried.

    Args:
        headers: Those of its dead letter, or the original ones.
        origin: Its first origin.
    """
    kept = [(name, value) for name, value in original_headers(headers) if name not in _ORIGIN]
    return [
        *kept,
        (ORIGIN_TOPIC, origin.topic.encode()),
        (ORIGIN_PARTITION, b"%d" % origin.partition),
        (ORIGIN_OFFSET, b"%d" % origin.offset),
    ]


def names_an_origin(names: Iterable[str]) -> bool:
    """Whether names of headers mark a record as retried."""
    return not _ORIGIN.isdisjoint(names)


def origin_of(
    headers: Sequence[tuple[str, bytes]], topic: str, partition: int, offset: int
) -> Origin:
    """Find a record's first origin.

    Args:
        headers: The record's headers.
        topic: Topic in which it came, without the namespace.
        partition: Its partition there.
        offset: Its offset there.

    Returns:
        The place of the record that was refused first; the record's own place if it is no
        retry.

    Raises:
        InvalidRecord: It is marked as a retry, but its first origin is no earlier place of the
            same partition, so this partition's reader could not know that record's fate.
    """
    if not names_an_origin(name for name, _ in headers):
        return Origin(topic, partition, offset)
    kept = list(headers)
    said = [header(kept, name) for name in (ORIGIN_TOPIC, ORIGIN_PARTITION, ORIGIN_OFFSET)]
    first = said[2] or ""
    if said[:2] == [topic, str(partition)] and first.isdecimal() and first.isascii():
        origin = Origin(topic, partition, int(first))
        if origin.offset < offset:
            return origin
    raise InvalidRecord(
        BAD_ORIGIN,
        f"its headers say that it was refused first at {said[0]} {said[1]}:{said[2]}, which is"
        f" no earlier place of {topic} {partition}; send dead letters again with"
        " `millrace dead-letters retry`",
    )


def never_refused(origin: Origin) -> InvalidRecord:
    """The reason to refuse a record whose first origin has no dead letter."""
    return InvalidRecord(
        BAD_ORIGIN,
        f"its headers say that it was refused first at {origin.topic} {origin.partition}:"
        f"{origin.offset}, but no dead letter says so (it was never refused, or the letter has"
        " expired); send this letter again with `millrace dead-letters retry`",
    )


def first_origin(headers: Sequence[tuple[str, bytes]], source: Origin) -> Origin:
    """Find the first origin of a dead letter.

    Args:
        headers: The letter's headers.
        source: Place of the refused record, as the letter states it.

    Returns:
        The first origin that the refused record carried, if that was valid; else its own place.
    """
    if header(headers, REASON) == BAD_ORIGIN:
        return source
    try:
        return origin_of(headers, *source)
    except InvalidRecord:  # written by an earlier release without `BAD_ORIGIN`, or by others
        return source
