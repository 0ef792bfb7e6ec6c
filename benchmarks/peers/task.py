"""What every contender does: decode a window, normalise its readings with NumPy, write them.

The output is the normalised readings as little-endian float32, keyed by asset: less than ours
writes, which stamps each window with its version and origin, in headers and value. So whatever
this comparison gets wrong is to the peers' advantage.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np


class PackedWindow(msgspec.Struct):
    """A window as the edge packs it (MessagePack)."""

    asset: str
    sensors: tuple[str, ...]
    start_ms: int
    period_seconds: float
    values: bytes
    segment: str = ""
    v: int = 1


class Task:
    """A contender's task, from the JSON file that the command line names.

    Attributes:
        brokers: Where Kafka is.
        source: Topic that is read.
        target: Topic that is written.
        group: Consumer group.
        folder: For what a framework keeps on disk.
    """

    def __init__(self, path: str | None = None) -> None:
        """Read the file."""
        values: dict[str, Any] = json.loads(Path(path or sys.argv[-1]).read_text())
        self.brokers: str = values["brokers"]
        self.source: str = values["source"]
        self.target: str = values["target"]
        self.group: str = values["group"]
        self.folder: str = values["folder"]
        self._mean = np.array(values["mean"], dtype=np.float32)
        self._scale = np.array(values["scale"], dtype=np.float32)
        self._decode = msgspec.msgpack.Decoder(PackedWindow).decode

    def one(self, value: bytes) -> bytes:
        """Normalise one window."""
        readings = np.frombuffer(self._decode(value).values, dtype="<f4")
        matrix = readings.reshape(-1, len(self._mean))
        return ((matrix - self._mean) / self._scale).tobytes()

    def many(self, values: Sequence[bytes]) -> list[bytes]:
        """Normalise a batch of windows as one block."""
        decode = self._decode
        blocks = [decode(value).values for value in values]
        size = len(blocks[0])
        readings = np.frombuffer(b"".join(blocks), dtype="<f4").reshape(-1, len(self._mean))
        data = ((readings - self._mean) / self._scale).tobytes()
        return [data[start : start + size] for start in range(0, len(data), size)]
