r"""Decodes the records of a record batch; the counterpart of `packing`.

See https://kafka.apache.org/documentation/#record. A record's headers are parsed lazily, because
few callers need them: parsing them is half the cost of reading a window in aiokafka, and the parsed
headers are most of its memory.

>>> unpacked_headers(b"\x02\nce_id\x06w-1")
[('ce_id', b'w-1')]
"""

from __future__ import annotations

from typing import Final

import msgspec
from aiokafka.errors import CorruptRecordException

from millrace.contracts.invalid_record import InvalidRecord
from millrace.stream_processors.codec.batch_header import HEADER, HEADER_BYTES
from millrace.stream_processors.codec.decompression import decompressed

#: Bits of a batch's attributes: its codec; whether its timestamp is the broker's.
CODEC_BITS: Final = 0x07
APPEND_TIME: Final = 0x08
#: Headers of a record that has none, in Kafka's form.
_NO_HEADERS: Final = b"\0"

#: Sign bit of a zigzag number; the length of null is negative.
_NEGATIVE: Final = 1
#: Largest byte that is a whole number, or the last byte of one.
_SHORT: Final = 0x7F
_MOST_BITS: Final = 70


class FetchedRecord(msgspec.Struct, gc=False):
    """A record as it was fetched.

    Attributes:
        offset: Its offset.
        timestamp: Milliseconds UTC.
        timestamp_type: 1 for the broker's clock (log append time), 0 for the producer's.
        key: Its key.
        value: Its value.
        packed: Its headers in Kafka's form, see `packing.packed_headers`.
    """

    offset: int
    timestamp: int
    timestamp_type: int
    key: bytes | None
    value: bytes | None
    packed: bytes

    @property
    def headers(self) -> list[tuple[str, bytes | None]]:
        """Its headers, in order.

        Raises:
            CorruptRecordException: They are none.
        """
        return unpacked_headers(self.packed)


class UnreadBatch(FetchedRecord, gc=False):
    """A batch that cannot be decoded, as one record in place of all its records.

    Its offset is that of the last record, so that a reader continues after the batch; its value is
    the batch, as it was fetched.

    Attributes:
        first_offset: Offset of its first record.
        count: Number of records, as its header states.
        problem: Why it cannot be decoded.
    """

    first_offset: int
    count: int
    problem: InvalidRecord


def unpacked(batch: memoryview) -> list[FetchedRecord]:
    """Decode all records of a record batch whose checksum is correct.

    Args:
        batch: Exactly one whole batch of version 2.

    Returns:
        Its records; or one `UnreadBatch` if they are too large or malformed.
    """
    return measured(batch)[0]


def measured(batch: memoryview) -> tuple[list[FetchedRecord], int]:
    """Like `unpacked`; also returns the decompressed size of the records, bytes."""
    first_offset, *_, attributes, last, first_ms, latest_ms, _, _, _, count = HEADER.unpack_from(
        batch
    )
    try:
        data = decompressed(batch[HEADER_BYTES:], attributes & CODEC_BITS)
        records = _all_records(data, count, first_offset, first_ms)
    except InvalidRecord as problem:
        last_offset = first_offset + last
        whole = unread(bytes(batch), first_offset, last_offset, latest_ms, count, problem)
        return [whole], len(batch)
    if attributes & APPEND_TIME:
        for record in records:
            record.timestamp, record.timestamp_type = latest_ms, 1
    return records, len(data)


def unread_batch(record: object) -> UnreadBatch | None:
    """Return the record as an `UnreadBatch`; None for an ordinary record."""
    return record if isinstance(record, UnreadBatch) else None


def unread(
    batch: bytes, first: int, last: int, at_ms: int, count: int, problem: InvalidRecord
) -> UnreadBatch:
    """Build the record that replaces a batch, from its first offset to its last."""
    return UnreadBatch(
        last, max(at_ms, 0), 0, None, batch, _NO_HEADERS, first, count, problem.kept()
    )


def _all_records(data: bytes, count: int, first_offset: int, first_ms: int) -> list[FetchedRecord]:
    """Decode all records of a batch's data.

    Raises:
        InvalidRecord: They are not as Kafka describes them.
    """
    try:
        records, end = _records(data, count, first_offset, first_ms)
    except IndexError as error:
        raise InvalidRecord("undecodable_batch", "a record ends after its batch") from error
    if end != len(data):
        raise InvalidRecord(
            "undecodable_batch", f"{count} records end at byte {end} of {len(data)} of their batch"
        )
    return records


def unpacked_headers(packed: bytes) -> list[tuple[str, bytes | None]]:
    """Parse a record's headers; the counterpart of `packing.packed_headers`.

    Names are UTF-8; invalid bytes in a name become replacement characters.

    Raises:
        CorruptRecordException: They are malformed; a broker accepts no such record.
    """
    headers = []
    try:
        count, at = _number(packed, 0)
        for _ in range(count >> 1):
            name, at = _text(packed, at)
            value, at = _sized(packed, at)
            headers.append((name, value))
    except IndexError as error:
        raise CorruptRecordException(f"headers of a record are none: {error}") from error
    if at != len(packed):
        raise CorruptRecordException(f"{count >> 1} headers end at byte {at} of {len(packed)}")
    return headers


def _records(  # noqa: C901, PLR0912  (see below)
    data: bytes, count: int, first_offset: int, first_ms: int
) -> tuple[list[FetchedRecord], int]:
    """Parse records, and return the position where they end.

    Numbers of up to two bytes are decoded inline: a call for each would take half as long again.
    """
    records = []
    end = 0
    for _ in range(count):
        number, at = data[end], end + 1  # the record's length
        if number > _SHORT:
            more = data[at]
            if more > _SHORT:
                number, at = _number(data, at - 1)
            else:
                number, at = number + (more - 1 << 7), at + 1
        end = at + (number >> 1)
        after_ms, at = data[at + 1], at + 2  # after the attributes, which are empty
        if after_ms > _SHORT:
            after_ms, at = _number(data, at - 1)
        place, at = data[at], at + 1
        if place > _SHORT:
            more = data[at]
            if more > _SHORT:
                place, at = _number(data, at - 1)
            else:
                place, at = place + (more - 1 << 7), at + 1
        key: bytes | None = None
        number, at = data[at], at + 1
        if number > _SHORT:
            number, at = _number(data, at - 1)
        if not number & _NEGATIVE:
            begin, at = at, at + (number >> 1)
            key = data[begin:at]
        value: bytes | None = None
        number, at = data[at], at + 1
        if number > _SHORT:
            more = data[at]
            if more > _SHORT:
                number, at = _number(data, at - 1)
            else:
                number, at = number + (more - 1 << 7), at + 1
        if not number & _NEGATIVE:
            begin, at = at, at + (number >> 1)
            value = data[begin:at]
        if at >= end:
            raise IndexError("no room for its headers")
        time_ms = first_ms + ((after_ms >> 1) ^ -(after_ms & 1))
        records.append(
            FetchedRecord(first_offset + (place >> 1), time_ms, 0, key, value, data[at:end])
        )
    return records, end


def _number(data: bytes, at: int) -> tuple[int, int]:
    """Read a number, still zigzag: twice its value, or one less than twice its negative.

    Returns:
        The number, and where it ends.
    """
    found = 0
    for shift in range(0, _MOST_BITS, 7):
        byte = data[at]
        at += 1
        found |= (byte & _SHORT) << shift
        if byte <= _SHORT:
            return found, at
    raise IndexError("a number without an end")


def _text(data: bytes, at: int) -> tuple[str, int]:
    """Read a name; returns it and the position where it ends."""
    name, at = _sized(data, at)
    if name is None:
        raise IndexError("a header without a name")
    return name.decode(errors="replace"), at


def _sized(data: bytes, at: int) -> tuple[bytes | None, int]:
    """Read length-prefixed bytes; returns them and the position where they end."""
    number, at = _number(data, at)
    if number & _NEGATIVE:
        return None, at
    end = at + (number >> 1)
    return data[at:end], end
