"""How large a record is for a broker, before anything is compressed.

A broker compares the bytes of a record batch with its topic's `max_bytes`. A record that fits by
this measure fits alone in a batch, however badly its bytes can be compressed; so whether it fits
does not depend on a codec, and is the same again when it is made again.

>>> from millrace.contracts.topics import SERVING_LEDGER
>>> takes(SERVING_LEDGER, record_size(b"pump/0/1", b"{}", [("content-type", b"application/json")]))
True
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from millrace.contracts.topics import Topic

#: Bytes of a batch's header, and of a record's lengths, time and place, at most.
OVERHEAD: Final = 61 + 36
#: Bytes of the two lengths of a header, at most.
_HEADER_OVERHEAD: Final = 10


def record_size(
    key: bytes | None, value: bytes, headers: Iterable[tuple[str, bytes | None]]
) -> int:
    """Bytes of a record alone in a batch, at most."""
    return OVERHEAD + len(key or b"") + len(value) + headers_size(headers)


def headers_size(headers: Iterable[tuple[str, bytes | None]]) -> int:
    """Bytes of headers, at most."""
    return sum(
        _HEADER_OVERHEAD + len(name.encode(errors="replace")) + len(value or b"")
        for name, value in headers
    )


def takes(topic: Topic, size: int) -> bool:
    """Whether a topic takes a record of so many bytes."""
    return size <= topic.max_bytes
