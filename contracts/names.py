r"""Bounds on names that users and devices choose: assets, sensors, segments, models.

A name is part of the key, value and id of every event that is derived from a window, and of every
line that is printed about it. So its size in bytes is bounded, which bounds the size of a window's
outputs. It is not blank, and contains neither U+0000 nor U+001F: the latter separates the parts of
ids and of changelog keys (`contracts.ids`), so two assets could be confused. Other control
characters are accepted; they are escaped when a name is printed.

>>> name_problem("PUMP-07"), name_problem("pump\x1b[41m")
(None, None)
>>> name_problem("\t ")
'is blank'
"""

from __future__ import annotations

from functools import lru_cache
from typing import Final

#: Largest size of a name in UTF-8, bytes, and largest number of sensors of a window.
MAX_NAME_BYTES: Final = 255
MAX_SENSORS: Final = 1024
_FORBIDDEN: Final = {"\x00": "U+0000", "\x1f": "U+001F"}


def name_problem(name: str) -> str | None:
    """Describe the problem with a name as a predicate, such as "is blank"; None if it is valid."""
    if len(name) > MAX_NAME_BYTES or (size := _size(name)) > MAX_NAME_BYTES:
        size = len(name) if len(name) > MAX_NAME_BYTES else size
        return f"has {size} bytes or more; it may have {MAX_NAME_BYTES} bytes of UTF-8"
    if size < 0:
        return "holds half of a surrogate pair, which is no character; send UTF-8"
    if not name or name.isspace():
        return "is blank"
    for character, code in _FORBIDDEN.items():
        if character in name:
            return f"holds the control character {code}, which separates ids; leave it out"
    return None


def segment_problem(name: str) -> str | None:
    """Like `name_problem`; an empty name is valid: the source has no segments."""
    return name_problem(name) if name else None


@lru_cache(maxsize=1 << 14)
def is_name(encoded: bytes) -> bool:
    """Whether UTF-8 bytes of bounded size are a valid name; cached."""
    return name_problem(encoded.decode()) is None


def _size(name: str) -> int:
    """Size of a name in UTF-8, bytes; -1 if it cannot be encoded."""
    try:
        return len(name.encode())
    except UnicodeEncodeError:
        return -1
