"""Digest of records, whatever objects they are stored in."""

from __future__ import annotations

import struct
from hashlib import sha256

from millrace.infra.archive.objects import Record


class RecordDigest:
    """SHA-256 over all fields of records, independent of how they are stored.

    Each field is preceded by its length, so that no two sequences of records give the same
    input; null has the length -1.

    >>> digest = RecordDigest()
    >>> digest.add(Record(0, 0, None, b"x", []))
    >>> digest.hexadecimal[:8]
    '2ee68196'
    """

    def __init__(self) -> None:
        """Start without records."""
        self._digest = sha256()

    def add(self, record: Record) -> None:
        """Add the next record."""
        pairs = [part for name, value in record.headers for part in (name.encode(), value)]
        parts = [struct.pack(">qqi", record.offset, record.timestamp_ms, len(record.headers))]
        for part in (record.key, record.value, *pairs):
            parts += (struct.pack(">i", -1 if part is None else len(part)), part or b"")
        self._digest.update(b"".join(parts))

    @property
    def hexadecimal(self) -> str:
        """The digest of the records so far."""
        return self._digest.hexdigest()
