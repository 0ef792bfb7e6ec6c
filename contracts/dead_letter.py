"""A record that could not be used, kept as it came, with where it came from and why.

The value and key are the original bytes, and the original headers are kept, so that a
mended record can be sent again; what we know about the failure is in headers of our own.
"""

from __future__ import annotations

from typing import Final

from contracts.headers import SOURCE_OFFSET, RawHeaders
from contracts.invalid_record import InvalidRecord

REASON = "millrace_reason"
DETAIL = "millrace_detail"
TOPIC = "millrace_topic"
PARTITION = "millrace_partition"
OFFSET = "millrace_offset"
TIMESTAMP = "millrace_timestamp_ms"
#: A detail may quote the record; headers are no place for a megabyte of it.
MOST_DETAIL: Final = 1000


def dead_letter_headers(
    original: RawHeaders,
    problem: InvalidRecord,
    *,
    topic: str,
    partition: int,
    offset: int,
    timestamp_ms: int,
) -> RawHeaders:
    """Original headers plus reason, detail and origin.

    Those that an earlier life as a dead letter has left, when it was sent again, give way.
    """
    ours = {
        REASON: problem.reason,
        DETAIL: problem.detail[:MOST_DETAIL],
        TOPIC: topic,
        PARTITION: str(partition),
        OFFSET: str(offset),
        TIMESTAMP: str(timestamp_ms),
    }
    kept = [(name, value) for name, value in original if name not in {*ours, SOURCE_OFFSET}]
    return [*kept, *((name, text.encode(errors="replace")) for name, text in ours.items())]
