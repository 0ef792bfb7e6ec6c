"""Prometheus metrics of inference."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Sequence

import numpy as np
import numpy.typing as npt
from prometheus_client import REGISTRY, Counter, Gauge, Histogram
from prometheus_client.core import HistogramMetricFamily
from prometheus_client.registry import Collector


class BatchHistogram(Collector):
    """A histogram that observes a whole batch at once, for values of every window."""

    def __init__(self, name: str, documentation: str, buckets: Sequence[float]) -> None:
        """Start with nothing observed."""
        self._name, self._documentation = name, documentation
        self._bounds = np.array([*buckets, np.inf])
        self._lock = threading.Lock()
        self._counts = np.zeros(len(self._bounds), np.int64)
        self._sum = 0.0

    def observe(self, values: npt.NDArray[np.float64]) -> None:
        """Count values."""
        places = np.searchsorted(self._bounds, values)
        with self._lock:
            self._counts += np.bincount(places, minlength=len(self._bounds))
            self._sum += float(values.sum())

    def describe(self) -> Iterable[HistogramMetricFamily]:
        """Describe the metric, so that the registry rejects duplicates of its name."""
        return [HistogramMetricFamily(self._name, self._documentation)]

    def collect(self) -> Iterable[HistogramMetricFamily]:
        """Return the cumulative counts of the buckets to Prometheus."""
        with self._lock:
            counts, total = np.cumsum(self._counts).tolist(), self._sum
        bounds = ["+Inf" if np.isinf(b) else repr(float(b)) for b in self._bounds]
        yield HistogramMetricFamily(
            self._name,
            self._documentation,
            buckets=list(zip(bounds, counts, strict=True)),
            sum_value=total,
        )


PREDICTIONS = Counter("millrace_predictions_total", "Predictions committed", ["model", "version"])
REPEATED = Counter("millrace_predictions_repeated_total", "Windows that were predicted before")
FALLBACKS = Counter(
    "millrace_predictions_fallback_total", "Predictions by the last good version", ["model"]
)
LACKING = Gauge(
    "millrace_serving_version_lacking",
    "1 while this replica has not loaded the version that serves",
    ["model", "replica"],
)
LATENCY = BatchHistogram(
    "millrace_prediction_latency_seconds",
    "From the edge's hand-over to the forecast",
    buckets=(0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 60),
)
REGISTRY.register(LATENCY)
BATCH = Histogram(
    "millrace_micro_batch_windows",
    "Windows in a micro-batch",
    buckets=(1, 2, 4, 8, 16, 32, 64, 128, 512, 1024, 2048, 4096),
)
COMMIT = Histogram(
    "millrace_micro_batch_commit_seconds",
    "From the first write of a micro-batch to the broker's answer to its commit",
    buckets=(0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 0.5, 1, 5, 15),
)
ABORTED = Counter("millrace_micro_batches_aborted_total", "Micro-batches that were done again")
LOADS = Counter("millrace_version_loads_total", "Versions loaded or refused", ["result"])
