"""Decompresses the records of a batch into bounded memory.

A batch of a few kilobytes may decompress to gigabytes. Each codec writes into a buffer of at most
`MAX_BATCH_BYTES` and stops when it is full; snappy declares its length first. A batch that cannot
be decompressed is refused (`InvalidRecord`), as a single invalid record is. The zstd decoder
allocates its own window in addition, by default at most 128 MiB.

The buffer is reused for the next batch, one per thread; pages that were never touched take no
memory. Measured: this takes no longer than aiokafka's codecs, which let their memory grow.
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
#: Magic bytes of the block format of Java's snappy library; and the size of its header.
_XERIAL: Final = b"\x82SNAPPY\x00"
_XERIAL_BYTES: Final = 16
_BLOCK_LENGTH: Final = struct.Struct(">i")
#: Error message of cramjam when the buffer is full.
_FULL: Final = "failed to write whole buffer"
#: A buffer that was used beyond this is freed, bytes.
_KEPT: Final = 8 << 20

_memory = threading.local()


def decompressed(data: memoryview, codec: int, most: int = MAX_BATCH_BYTES) -> bytes:
    """Decompress the records of a batch.

    Args:
        data: The bytes after the batch's header.
        codec: Its codec's number; 0 if it is not compressed.
        most: Largest decompressed size, bytes.

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
    """Decompress snappy: a single block, or the block format of Java's library."""
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
