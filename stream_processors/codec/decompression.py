"""Records of a batch decompressed, up to a bound that holds before memory is taken.

A batch of some kilobytes may say that it is gigabytes. Each codec writes into memory of at most
`MAX_BATCH_BYTES` here, and stops where that is full; snappy says its length first. What cannot be
decompressed is a finding about the batch (`InvalidRecord`), as a bad record is one about itself.
The decoder of zstd has a window of its own beside that, 128 MiB at most by its default.

The memory is kept for the next batch, one piece for each thread, and untouched pages of it are
none. Measured: this takes no longer than aiokafka's codecs, which let their memory grow.
"""

from __future__ import annotations

import struct
import threading
from typing import Any, Final

import cramjam
import numpy as np

from millrace.contracts.invalid_record import InvalidRecord
from millrace.contracts.topics import MAX_BATCH_BYTES

SNAPPY: Final = 2
_STREAMS: Final[dict[int, Any]] = {
    1: cramjam.gzip.decompress_into,
    3: cramjam.lz4.decompress_into,
    4: cramjam.zstd.decompress_into,
}
#: How Java's snappy begins, which cuts its data into blocks; and bytes of that header.
_XERIAL: Final = b"\x82SNAPPY\x00"
_XERIAL_BYTES: Final = 16
_BLOCK_LENGTH: Final = struct.Struct(">i")
#: What cramjam says of memory that is full.
_FULL: Final = "failed to write whole buffer"
#: Memory that was used further than this is given back, bytes.
_KEPT: Final = 8 << 20

_memory = threading.local()


def decompressed(data: memoryview, codec: int, most: int = MAX_BATCH_BYTES) -> bytes:
    """Decompress the records of a batch.

    Args:
        data: What follows the batch's header.
        codec: Its codec's number; 0 if it is not compressed.
        most: Bytes that it may have.

    Raises:
        InvalidRecord: It is larger (``oversized_batch``), or its compression is torn or of an
            unknown kind (``undecodable_batch``).
    """
    if not codec:
        return bytes(data)
    try:
        return _unsnapped(data, most) if codec == SNAPPY else _streamed(data, codec, most)
    except (cramjam.DecompressionError, struct.error) as error:
        if _FULL in str(error):
            raise _oversized(most) from error
        raise InvalidRecord(
            "undecodable_batch", f"a batch of records cannot be decompressed: {error}"
        ) from error


def _streamed(data: memoryview, codec: int, most: int) -> bytes:
    if codec not in _STREAMS:
        raise InvalidRecord("undecodable_batch", f"a batch has an unknown codec, {codec}")
    room = getattr(_memory, "room", None)
    if room is None or len(room) != most:
        room = _memory.room = np.empty(most, np.uint8)
    size = 0
    try:
        size = _STREAMS[codec](data, room)
        return room[:size].tobytes()
    except cramjam.DecompressionError:
        size = most
        raise
    finally:
        if size > _KEPT:
            del _memory.room


def _unsnapped(data: memoryview, most: int) -> bytes:
    """Decompress snappy: one block, or those of Java's library."""
    if bytes(data[: len(_XERIAL)]) != _XERIAL:
        _check(cramjam.snappy.decompress_raw_len(data), most)
        return bytes(cramjam.snappy.decompress_raw(data))
    blocks: list[memoryview] = []
    at, total = _XERIAL_BYTES, 0
    while at < len(data):
        (length,) = _BLOCK_LENGTH.unpack_from(data, at)
        at += _BLOCK_LENGTH.size
        if not 0 <= length <= len(data) - at:
            raise InvalidRecord("undecodable_batch", "a block of snappy ends after its batch")
        blocks.append(data[at : at + length])
        total += cramjam.snappy.decompress_raw_len(blocks[-1])
        _check(total, most)
        at += length
    return b"".join([bytes(cramjam.snappy.decompress_raw(block)) for block in blocks])


def _check(size: int, most: int) -> None:
    if size > most:
        raise _oversized(most)


def _oversized(most: int) -> InvalidRecord:
    return InvalidRecord(
        "oversized_batch",
        f"a batch of records has more than {most} bytes once decompressed; send smaller batches"
        " (batch.size, linger.ms)",
    )
