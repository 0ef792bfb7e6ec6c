"""A window in the units of one model version, stamped with that version."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
import numpy.typing as npt

from millrace.contracts.events.event import MSGPACK, Event
from millrace.contracts.source import Source
from millrace.contracts.topics import NORMALIZED, Topic


class NormalizedWindow(Event, frozen=True, gc=False):
    """What inference reads (MessagePack).

    Attributes:
        window_id: Id of the edge's window.
        asset: The machine.
        model: Model that reads it.
        version: Version that it is stamped with, whose units ``values`` are in.
        epoch: Serving epoch of that stamp.
        source: The `sensor.windows` record.
        start_ms: Event time of the first sample, UTC.
        end_ms: Event time where the forecast begins, UTC.
        values: Little-endian float32 of shape (window, sensors), normalised, row by row.
        present: One byte per sensor, 1 where present.
        segment: The window's segment.
    """

    TYPE: ClassVar[str] = "millrace.normalized-window.v1"
    TOPIC: ClassVar[Topic] = NORMALIZED
    CONTENT_TYPE: ClassVar[str] = MSGPACK
    DERIVED: ClassVar[bool] = True

    window_id: str
    asset: str
    model: str
    version: int
    epoch: int
    source: Source
    start_ms: int
    end_ms: int
    values: bytes
    present: bytes
    segment: str = ""
    v: int = 1

    def matrix(self, sensors: int) -> npt.NDArray[np.float32]:
        """View the readings, float32 of shape (window, sensors)."""
        return np.frombuffer(self.values, dtype="<f4").reshape(-1, sensors)

    def presence(self) -> npt.NDArray[np.bool_]:
        """View which sensors are present, bool of shape (sensors,)."""
        return np.frombuffer(self.present, dtype=np.bool_)
