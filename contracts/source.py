"""Coordinates of a source record, which every event derived from it carries."""

from __future__ import annotations

import msgspec


class Source(msgspec.Struct, frozen=True, gc=False):
    """The Kafka record that an event was derived from.

    Attributes:
        topic: Topic of the record, without the namespace.
        partition: Its partition.
        offset: Its offset.
        timestamp_ms: Its Kafka timestamp (milliseconds since the epoch, UTC): when the
            edge handed the window over. Latency is measured from here.
    """

    topic: str
    partition: int
    offset: int
    timestamp_ms: int
