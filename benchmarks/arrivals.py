"""A reader of predictions in a process of its own: ``python -m benchmarks.arrivals FILE``.

It reads `predictions` and nothing else, with ``read_committed`` as any user would, and keeps
six numbers for each: so little that it does not slow down what it watches. When it is asked
(SIGUSR1), and when it is told to end (SIGTERM), it writes them to FILE, a NumPy array of float64
of shape (predictions, 6) with the columns of `COLUMNS`. All moments are milliseconds since the
epoch, of this machine.
"""

from __future__ import annotations

import signal
import sys
import threading
import time
from pathlib import Path
from typing import Final

import msgspec
import numpy as np
import numpy.typing as npt
from confluent_kafka import TopicPartition

from millrace.contracts.topics import PREDICTIONS
from millrace.infra.kafka.clients import partitions_of, reader
from millrace.infra.kafka.errors import raise_error
from millrace.infra.settings import Settings

#: ``sent`` is the timestamp of the window's record; ``latency`` what the prediction says of
#: itself; ``written`` the prediction record's own timestamp; ``arrived`` when we had it.
COLUMNS: Final = ("partition", "offset", "sent", "latency", "written", "arrived")
_WAIT_SECONDS: Final = 0.05
_MOST: Final = 1000

Arrivals = npt.NDArray[np.float64]


class _Source(msgspec.Struct):
    partition: int
    offset: int
    timestamp_ms: float


class _Prediction(msgspec.Struct):
    source: _Source
    latency_ms: float


def main() -> int:
    """Read until told to end."""
    stop, asked = threading.Event(), threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    signal.signal(signal.SIGUSR1, lambda *_: asked.set())
    target = Path(sys.argv[1])
    settings = Settings.read()
    name = settings.named(PREDICTIONS.name)
    client = reader(settings, {"fetch.wait.max.ms": 50})
    client.assign([TopicPartition(name, p, 0) for p in partitions_of(client, name)])
    decode = msgspec.json.Decoder(_Prediction).decode
    rows: list[tuple[float, ...]] = []
    kept: list[Arrivals] = []
    while not stop.is_set():
        if asked.is_set():
            asked.clear()
            _save(target, kept, rows)
        messages = client.consume(_MOST, _WAIT_SECONDS)
        arrived = time.time() * 1000
        for message in messages:
            raise_error(message)
            value = message.value()
            if message.error() is None and value is not None:
                made = decode(value)
                source = made.source
                rows.append(
                    (
                        source.partition,
                        source.offset,
                        source.timestamp_ms,
                        made.latency_ms,
                        message.timestamp()[1],
                        arrived,
                    )
                )
    client.close()
    _save(target, kept, rows)
    return 0


def _save(target: Path, kept: list[Arrivals], rows: list[tuple[float, ...]]) -> None:
    """Move rows to what is kept, and write all of it; the file is whole whenever it is there."""
    kept.append(np.array(rows, dtype=np.float64).reshape(-1, len(COLUMNS)))
    rows.clear()
    draft = target.with_suffix(".draft")
    with draft.open("wb") as file:
        np.save(file, np.concatenate(kept))
    draft.replace(target)


def column(arrivals: Arrivals, name: str) -> Arrivals:
    """Take a column by its name."""
    return arrivals[:, COLUMNS.index(name)]


if __name__ == "__main__":
    sys.exit(main())
