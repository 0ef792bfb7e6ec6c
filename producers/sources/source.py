"""The port of live sources: readings of one or many assets, as they are measured.

A source is independent of windows, spools and Kafka. It is read on a thread of its own
(`producers.live`), so it may block, and a slow broker does not make it miss a reading. Recordings
are `recording.Recording`. See docs/ports/sources.md for how to write your own.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

from millrace.contracts.model_spec import ModelSpec


class Reading(NamedTuple):
    """One sample of all sensors of an asset.

    Attributes:
        asset: The machine.
        time_ms: Event time, milliseconds UTC; later than the asset's previous reading.
        values: One number per sensor of the spec, in its order and physical units; NaN where
            missing.
        segment: Names an uninterrupted stretch of recording; empty where the source has none.
    """

    asset: str
    time_ms: int
    values: npt.NDArray[np.floating[Any]]
    segment: str = ""


class Source(Protocol):
    """A live source of readings for one model."""

    @property
    def spec(self) -> ModelSpec:
        """Model spec for these readings."""
        ...

    @property
    def name(self) -> str:
        """Unique name of the source on this machine; its spool is stored under this name."""
        ...

    @property
    def title(self) -> str:
        """One line for people."""
        ...

    def readings(self, stop: threading.Event) -> Iterator[Reading]:
        """Yield readings until the source ends or ``stop`` is set.

        Args:
            stop: Once it is set, the source must end within `producers.live.END_SECONDS`. A source
                waits with ``stop.wait``.

        Raises:
            MillraceError: The device cannot be read; names the failure, its place and the remedy.
        """
        ...
