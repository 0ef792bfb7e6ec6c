"""Upper bound of a record's size on a broker, before compression.

A broker compares the size of a record batch with its topic's `max_bytes`. A record that fits by
this measure fits alone in a batch, however badly it compresses; so whether it fits does not depend
on a codec, and is the same when the record is produced again.

>>> from millrace.contracts.topics import SERVING_LEDGER
>>> takes(SERVING_LEDGER, record_size(b"pump/0/1", b"{}", [("content-type", b"application/json")]))
True
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from millrace.contracts.topics import Topic

#: Largest size of a batch's header, and of a record's length, timestamp and offset fields, bytes.
OVERHEAD: Final = 61 + 36
#: Largest size of the two length fields of a header, bytes.
_HEADER_OVERHEAD: Final = 10


def record_size(
    key: bytes | None, value: bytes, headers: Iterable[tuple[str, bytes | None]]
) -> int:
    """Upper bound of the size of a record alone in a batch, bytes."""
    return OVERHEAD + len(key or b"") + len(value) + headers_size(headers)


def headers_size(headers: Iterable[tuple[str, bytes | None]]) -> int:
    """Upper bound of the size of headers, bytes."""
    return sum(
        _HEADER_OVERHEAD + len(name.encode(errors="replace")) + len(value or b"")
        for name, value in headers
    )


def takes(topic: Topic, size: int) -> bool:
    """Whether a topic accepts a record of a size in bytes."""
    return size <= topic.max_bytes
