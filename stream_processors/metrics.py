"""Prometheus metrics of the stream processor."""

from prometheus_client import Counter, Gauge

WINDOWS = Counter("millrace_windows_normalised_total", "Windows stamped and normalised", ["model"])
DEAD = Counter("millrace_dead_letters_total", "Records that could not be used", ["reason"])
DUPLICATES = Counter("millrace_windows_repeated_total", "Windows that the edge sent twice")
CUT = Counter(
    "millrace_dead_letters_cut_total",
    "Dead letters that hold the head of a value: where the whole value is",
    ["kept_in"],
)
GIVEN_UP = Counter(
    "millrace_forecasts_given_up_total",
    "Open forecasts that were dropped because an asset's memory did not fit into its record",
)
OUTCOMES_JOINED = Counter("millrace_outcomes_total", "Predictions joined with truth", ["model"])
FENCES = Counter("millrace_fences_total", "Fences written to the serving ledger")
SPLIT = Counter(
    "millrace_split_assets_total", "Assets whose records come in more than one partition", ["model"]
)
RECOVERY_REMAINING = Gauge(
    "millrace_stream_processor_recovery_remaining_records",
    "Offsets of the changelog that are still to be read back",
)
