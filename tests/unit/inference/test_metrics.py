"""Metrics that take a batch at once say what single observations would have said."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, Histogram, generate_latest

from millrace.inference.metrics import BatchHistogram

BUCKETS = (0.125, 0.25, 1, 60)


def lines(registry: CollectorRegistry) -> list[str]:
    """What Prometheus reads, without when it began."""
    return [
        line for line in generate_latest(registry).decode().splitlines() if "_created" not in line
    ]


@given(st.lists(st.lists(st.sampled_from([-1, 0, 0.125, 0.25, 0.5, 1, 2, 60, 99.5]))))
def test_a_batch_counts_as_its_values(batches: list[list[float]]) -> None:
    """The same text as Prometheus' own histogram, bounds, counts and sum."""
    ours, theirs = CollectorRegistry(), CollectorRegistry()
    batched = BatchHistogram("wait_seconds", "How long", BUCKETS)
    ours.register(batched)
    single = Histogram("wait_seconds", "How long", buckets=BUCKETS, registry=theirs)
    for values in batches:
        batched.observe(np.array(values, np.float64))
        for value in values:
            single.observe(value)
    assert lines(ours) == lines(theirs)
