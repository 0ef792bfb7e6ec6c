"""A record that could not be used, kept as it came, with where it came from and why.

The value and key are the original bytes, and the original headers are kept, so that a
mended record can be sent again; what we know about the failure is in headers of our own.
"""

from __future__ import annotations

from contracts.headers import RawHeaders
from contracts.invalid_record import InvalidRecord

REASON = "millrace_reason"
DETAIL = "millrace_detail"
TOPIC = "millrace_topic"
PARTITION = "millrace_partition"
OFFSET = "millrace_offset"
TIMESTAMP = "millrace_timestamp_ms"


def dead_letter_headers(
    original: RawHeaders,
    problem: InvalidRecord,
    *,
    topic: str,
    partition: int,
    offset: int,
    timestamp_ms: int,
) -> RawHeaders:
    """Original headers plus reason, detail and origin."""
    ours = {
        REASON: problem.reason,
        DETAIL: problem.detail,
        TOPIC: topic,
        PARTITION: str(partition),
        OFFSET: str(offset),
        TIMESTAMP: str(timestamp_ms),
    }
    kept = [(name, value) for name, value in original if name not in ours]
    return [*kept, *((name, text.encode()) for name, text in ours.items())]
