"""Results of a micro-batch in the order of its windows, as they become available.

The network runs on its own thread and releases the GIL: so the next windows are forecast while the
last forecasts are encoded and sent.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Executor, Future
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt

from millrace.contracts.clock import now
from millrace.contracts.events.normalized_window import NormalizedWindow
from millrace.contracts.invalid_record import InvalidRecord
from millrace.contracts.normaliser import Normaliser
from millrace.contracts.topics import PREDICTIONS as PREDICTIONS_TOPIC
from millrace.contracts.wire.sizes import record_size, takes
from millrace.inference.batch.predictions import Forecasts, misfits, predict
from millrace.inference.batch.reading import unanswered
from millrace.inference.batch.records import Record, latencies_ms, prediction_records
from millrace.inference.metrics import LATENCY, PREDICTIONS
from millrace.inference.serving.servables import Servable
from millrace.model_families.padding import SIZES

#: Bytes of key and value that fit into a record of `predictions` with any headers (ours take less
#: than 1 kB); the exact size is computed only for larger ones.
SURE_BYTES: Final = PREDICTIONS_TOPIC.max_bytes - 4096


class _Run(NamedTuple):
    """Windows of one run of the network, and their indices."""

    servable: Servable
    places: list[int]
    windows: list[NormalizedWindow]
    said: Future[Forecasts]


class MicroBatchResults:
    """A record for each window: a prediction or a dead letter."""

    def __init__(self, windows: Sequence[NormalizedWindow], network: Executor) -> None:
        """Start without results.

        Args:
            windows: The windows of the micro-batch.
            network: Executor that runs networks.
        """
        self._windows = windows
        self._network = network
        self._records: list[Record | None] = [None] * len(windows)
        self._runs: deque[_Run] = deque()
        self._latencies: list[tuple[Servable, npt.NDArray[np.float64]]] = []

    def refuse(self, place: int, problem: InvalidRecord) -> None:
        """Build a window's dead letter."""
        self._records[place] = unanswered(self._windows[place], problem)

    def ask(self, servable: Servable, units: Normaliser | None, places: Sequence[int]) -> None:
        """Start the forecasts for windows of one stamp; those that do not fit are refused.

        Args:
            servable: The version that forecasts.
            units: See `inference.batch.predictions.predict`.
            places: The windows' indices, ascending.
        """
        problems = misfits(servable.spec, [self._windows[place] for place in places])
        for index, problem in problems.items():
            self.refuse(places[index], problem)
        fit = [place for index, place in enumerate(places) if index not in problems]
        for start in range(0, len(fit), SIZES[-1]):
            run = fit[start : start + SIZES[-1]]
            windows = [self._windows[place] for place in run]
            said = self._network.submit(predict, servable, windows, units)
            self._runs.append(_Run(servable, run, windows, said))

    def records(self) -> Iterator[Record]:
        """Yield predictions and dead letters in the order of their windows, as they complete."""
        for place in range(len(self._windows)):
            while (record := self._records[place]) is None:
                self._take(self._runs.popleft())
            yield record

    def count(self) -> None:
        """Update the metrics, after the commit."""
        for servable, latencies in self._latencies:
            PREDICTIONS.labels(servable.spec.name, str(servable.version)).inc(len(latencies))
            LATENCY.observe(latencies / 1000)

    def _take(self, run: _Run) -> None:
        """Encode the forecasts for a run's windows."""
        said = run.said.result()
        at = now()
        made = prediction_records(run.servable, run.windows, said, at)
        first, last = run.places[0], run.places[-1]
        if last - first < len(made):  # the usual case: they are adjacent
            self._records[first : last + 1] = made
        else:
            for place, record in zip(run.places, made, strict=True):
                self._records[place] = record
        for index in np.flatnonzero(~said.finite).tolist():
            why = f"version {run.servable.version} made no finite forecast of it"
            self.refuse(run.places[index], InvalidRecord("forecast_not_finite", why))
        if max([len(key or b"") + len(value) for _, key, value, _, _ in made]) > SURE_BYTES:
            self._refuse_large(run, made)
        self._latencies.append((run.servable, latencies_ms(run.windows, at)[said.finite]))

    def _refuse_large(self, run: _Run, made: Sequence[Record]) -> None:
        """Refuse windows whose predictions are too large for `predictions`."""
        for place, (_, key, value, headers, _) in zip(run.places, made, strict=True):
            size = record_size(key, value, headers)
            if not takes(PREDICTIONS_TOPIC, size):
                why = (
                    f"its prediction has {size} bytes, and a record of {PREDICTIONS_TOPIC.name} may"
                    f" have {PREDICTIONS_TOPIC.max_bytes}; have the model forecast fewer steps or"
                    " sensors"
                )
                self.refuse(place, InvalidRecord("forecast_too_large", why))
