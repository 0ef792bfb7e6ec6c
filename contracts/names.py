r"""Names that others choose (assets, sensors, segments, models), and the bounds on them.

A name goes into the key, the value and the id of everything that is derived from a window, and
into every line that is printed of it. So it has a bound in bytes: outputs of a window have a
known largest size. It is not blank, and holds neither U+0000 nor U+001F: the latter separates
the parts of ids and of changelog keys (`contracts.ids`), so two assets could be taken for one.
Other control characters are taken: whoever prints a name escapes it.

>>> name_problem("PUMP-07"), name_problem("pump\x1b[41m")
(None, None)
>>> name_problem("\t ")
'is blank'
"""

from __future__ import annotations

from functools import lru_cache
from typing import Final

#: Bytes of UTF-8 that a name may have, and sensors that a window may have.
MAX_NAME_BYTES: Final = 255
MAX_SENSORS: Final = 1024
_FORBIDDEN: Final = {"\x00": "U+0000", "\x1f": "U+001F"}


def name_problem(name: str) -> str | None:
    """Say what is wrong with a name, as the end of a sentence; None if nothing is."""
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
    """Like `name_problem`; an empty one says that the source has no segments."""
    return name_problem(name) if name else None


@lru_cache(maxsize=1 << 14)
def is_name(encoded: bytes) -> bool:
    """Whether UTF-8 bytes, of which there are not too many, are a name; remembers the answer."""
    return name_problem(encoded.decode()) is None


def _size(name: str) -> int:
    """Bytes of a name in UTF-8; -1 if it has none."""
    try:
        return len(name.encode())
    except UnicodeEncodeError:
        return -1
