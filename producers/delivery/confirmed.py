"""The number of a spool's last confirmed record, in a file that is overwritten in place.

The file allocates its space when it is created, so that it can be written when the disk is full.
While a spool's database is recreated, it holds the spool's notes as well.
"""

import os
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import msgspec

#: The number, and the size of the saved notes that follow, bytes.
_HEAD: Final = struct.Struct("<qq")
_BYTES: Final = 16 << 10

_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(dict[str, bytes]).decode


class Confirmed:
    """The open file.

    Attributes:
        through: The number; 0 in a new file.
        notes: Notes that were saved last and not discarded since.
    """

    def __init__(self, path: Path) -> None:
        """Open the file, or create it.

        Raises:
            OSError: It cannot be created or read.
        """
        self._file = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
        self.through = 0
        self.notes: dict[str, bytes] = {}
        written = os.pread(self._file, _BYTES, 0)
        if len(written) < _BYTES:  # new, or incomplete, because its creator was killed
            os.pwrite(self._file, bytes(_BYTES), 0)
            return
        self.through, length = _HEAD.unpack_from(written)
        if length:
            self.notes = _decode(written[_HEAD.size : _HEAD.size + length])

    def write(self, through: int) -> None:
        """Write the number, and discard saved notes.

        Raises:
            OSError: It cannot be written.
        """
        os.pwrite(self._file, _HEAD.pack(through, 0), 0)
        self.through = through

    def save(self, notes: Mapping[str, bytes]) -> bool:
        """Save notes beside the number; they are synced to disk when this returns.

        Returns:
            False if they are too long.

        Raises:
            OSError: They cannot be written.
        """
        packed = _encode(dict(notes))
        if len(packed) > _BYTES - _HEAD.size:
            return False
        os.pwrite(self._file, packed, _HEAD.size)
        os.pwrite(self._file, _HEAD.pack(self.through, len(packed)), 0)
        os.fsync(self._file)
        return True

    def close(self) -> None:
        """Close the file; idempotent."""
        if self._file >= 0:
            os.close(self._file)
            self._file = -1
