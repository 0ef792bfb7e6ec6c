"""What inference counts."""

from prometheus_client import Counter, Histogram

PREDICTIONS = Counter("millrace_predictions_total", "Predictions committed", ["model", "version"])
REPEATED = Counter("millrace_predictions_repeated_total", "Windows that were predicted before")
FALLBACKS = Counter(
    "millrace_predictions_fallback_total", "Predictions by the last good version", ["model"]
)
LATENCY = Histogram(
    "millrace_prediction_latency_seconds",
    "From the edge's hand-over to the forecast",
    buckets=(0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 60),
)
BATCH = Histogram(
    "millrace_micro_batch_windows",
    "Windows in a micro-batch",
    buckets=(1, 2, 4, 8, 16, 32, 64, 128, 512),
)
LOADS = Counter("millrace_version_loads_total", "Versions loaded or refused", ["result"])
