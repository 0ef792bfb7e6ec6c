"""Where a window's time went between the edge and a reader of predictions, from timestamps alone.

Each stage leaves a record: the window's in `sensor.windows` (its timestamp is when the edge
handed it over), the stamped one in `sensor.windows.normalized` (when the stream processor wrote
it), the prediction (when inference wrote it), and its arrival. So the stages can be told apart
afterwards, without a probe in any service.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np
import numpy.typing as npt

from benchmarks.arrivals import Arrivals, column
from benchmarks.result import Row
from millrace.contracts.headers import SOURCE_OFFSET, header
from millrace.contracts.topics import NORMALIZED
from millrace.infra.kafka.log_reader import read_all
from millrace.infra.settings import Settings

Floats = npt.NDArray[np.float64]
Normalised = dict[tuple[int, int], float]

PERCENTILES: Final = (50, 95, 99)


def normalised_at(settings: Settings) -> Normalised:
    """Read when each stamped window was written: milliseconds, by source partition and offset."""
    found: Normalised = {}
    for message in read_all(settings, NORMALIZED, batch=10_000):
        offset = header(message.headers(), SOURCE_OFFSET)
        if offset is not None:
            found[message.partition() or 0, int(offset)] = float(message.timestamp()[1])
    return found


def stage_rows(arrivals: Arrivals, normalised: Normalised) -> list[Row]:
    """Split the way of some predictions into its stages; milliseconds."""
    places = zip(column(arrivals, "partition"), column(arrivals, "offset"), strict=True)
    middle = np.array([normalised.get((int(p), int(o)), np.nan) for p, o in places])
    sent, written = column(arrivals, "sent"), column(arrivals, "written")
    stages: list[tuple[str, Floats]] = [
        ("edge and stream processor", middle - sent),
        ("inference", written - middle),
        ("commit and reader", column(arrivals, "arrived") - written),
        ("all", column(arrivals, "arrived") - sent),
        ("predictions' own latency_ms", column(arrivals, "latency")),
    ]
    return [{"stage": name, **percentile_cells(values)} for name, values in stages]


def percentile_cells(values: Floats, which: Sequence[int] = PERCENTILES) -> Row:
    """Take percentiles of some times, milliseconds, and the longest."""
    known = values[~np.isnan(values)]
    if not len(known):
        return {**{f"p{number} ms": None for number in which}, "max ms": None}
    cells: Row = {f"p{number} ms": float(np.percentile(known, number)) for number in which}
    return {**cells, "max ms": float(known.max())}
