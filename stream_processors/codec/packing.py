r"""Encodes records for a record batch, before its compression.

See https://kafka.apache.org/documentation/#record. Headers are passed in packed form, because most
of them are the same for all windows of a block and are packed once (`DerivedHeaders`). aiokafka's
own builder packs each header of each record.

>>> packed_headers([("ce_id", b"w-1")])
b'\x02\nce_id\x06w-1'
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime
from typing import Final

import msgspec

from millrace.contracts.headers import ID, SOURCE_OFFSET, around_id

#: Key, value and packed headers of a record.
Content = tuple[bytes | None, bytes | bytearray, bytes]

_ENCODER: Final = msgspec.msgpack.Encoder()
_NULL: Final = b"\x01"
_BITS: Final = 0x7F


def _varint(number: int) -> bytes:
    """Encode a number as Kafka does: zigzag, seven bits a byte, lowest first."""
    left = number * 2 if number >= 0 else -number * 2 - 1
    found = bytearray()
    while left > _BITS:
        found.append(left & _BITS | 0x80)
        left >>= 7
    found.append(left)
    return bytes(found)


#: Encodings of the small numbers: most lengths and offset deltas.
_VARINTS: Final = [_varint(number) for number in range(1 << 14)]
TABLED: Final = len(_VARINTS)


def varint(number: int) -> bytes:
    """Pack a number."""
    return _VARINTS[number] if 0 <= number < TABLED else _varint(number)


def packed_headers(headers: Sequence[tuple[str, bytes | None]]) -> bytes:
    """Pack the headers of a record; a value may be null."""
    return varint(len(headers)) + _one_by_one(headers)


def pack_records(
    target: bytearray, records: Iterable[Content], first: int, after_ms: int, room: int
) -> tuple[int, Content | None]:
    """Pack records that share a timestamp, up to the first one that does not fit.

    Args:
        target: Buffer that they are appended to.
        records: Their keys, values and packed headers.
        first: Offset delta of the first one in its batch; the others follow. One at 0 always fits.
        after_ms: Their timestamp, milliseconds after that of the batch's first record.
        room: Largest size of the target, bytes.

    Returns:
        Offset delta of the next one; the record that did not fit, if there was one.
    """
    next_place = first
    table, begin = _VARINTS, b"\0" + varint(after_ms)  # no attributes
    for place, (key, value, headers) in enumerate(records, first):
        length = len(value)
        head = b"".join(
            (
                begin,
                table[place] if place < TABLED else _varint(place),
                _NULL if key is None else varint(len(key)),
                key or b"",
                table[length] if length < TABLED else _varint(length),
            )
        )
        length += len(head) + len(headers)
        packed = table[length] if length < TABLED else _varint(length)
        if place and len(target) + len(packed) + length > room:
            return place, (key, value, headers)
        target += packed
        target += head
        target += value
        target += headers
        next_place = place + 1
    return next_place, None


def in_msgpack(
    records: Iterable[tuple[bytes | None, msgspec.Struct, bytes]],
) -> Iterator[Content]:
    """Encode the values of records while they are packed.

    All are encoded into one buffer, so each is valid only until the next one is requested: copying
    each would take longer than all other work of writing them.
    """
    buffer = bytearray()
    for key, event, headers in records:
        _ENCODER.encode_into(event, buffer)
        yield key, buffer, headers


class DerivedHeaders:
    """Packed headers of many events of one kind that happen at one time.

    Each event is derived from a source record and names its offset.
    """

    def __init__(self, event_type: str, source: str, content_type: str, time: datetime) -> None:
        """Pack the shared headers; see `contracts.headers.around_id`."""
        before, after = around_id(event_type, source, content_type, time)
        count = len(before) + len(after) + len((ID, SOURCE_OFFSET))
        self._until_id = varint(count) + _one_by_one(before) + _sized(ID.encode())
        self._until_offset = _one_by_one(after) + _sized(SOURCE_OFFSET.encode())

    def packed(self, event_ids: Iterable[str], offsets: Iterable[int]) -> list[bytes]:
        """Pack the headers of each event, given its id (a short one) and its source's offset."""
        names = [name.encode() for name in event_ids]
        numbers = [b"%d" % offset for offset in offsets]
        until_id, until_offset, table = self._until_id, self._until_offset, _VARINTS
        return [
            b"".join((until_id, table[len(name)], name, until_offset, table[len(number)], number))
            for name, number in zip(names, numbers, strict=True)
        ]


def _one_by_one(headers: Sequence[tuple[str, bytes | None]]) -> bytes:
    return b"".join(_sized(name.encode()) + _sized(value) for name, value in headers)


def _sized(data: bytes | None) -> bytes:
    """Bytes prefixed with their length; null has the length -1."""
    return _NULL if data is None else varint(len(data)) + data
