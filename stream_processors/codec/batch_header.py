"""Layout of the header of Kafka's record batch, version 2, and its checksum.

See https://kafka.apache.org/documentation/#recordbatch
"""

from __future__ import annotations

import struct
from typing import Final

import google_crc32c

VERSION: Final = 2
#: Base offset, length, leader's epoch, version, checksum, attributes, last offset's delta, first
#: and latest timestamp, producer's id, epoch and sequence, count of records.
HEADER: Final = struct.Struct(">qiibIhiqqqhii")
HEADER_BYTES: Final = HEADER.size
#: Byte offsets from the start of the batch. The length field counts the bytes after it, in older
#: formats as well.
LENGTH, EPOCH, CRC, ATTRIBUTES, PRODUCER = 8, 12, 17, 21, 43
#: Offset of the first byte that the length field counts.
COUNTED: Final = 12


def checksum(batch: bytes | bytearray | memoryview) -> int:
    """CRC-32C (RFC 3720) of the bytes after the checksum field of a batch.

    aiokafka's own does not use the CPU's CRC instruction and is ten times as slow.

    Args:
        batch: Exactly one whole batch.
    """
    found: int = google_crc32c.value(bytes(memoryview(batch)[ATTRIBUTES:]))
    return found
