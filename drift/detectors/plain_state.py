"""Converts the state of a river object to plain numbers, and back into a new object.

river's only snapshot is a pickle, which may contain any code. Its detectors are Python objects of
numbers, lists and other such objects, so their attributes are copied by name into a new object with
the same settings. A detector with any other attribute is refused at configuration.

>>> from collections import deque
>>> restored(deque(maxlen=2), plain(deque([1.0, 2.5], maxlen=2)))
deque([1.0, 2.5], maxlen=2)
"""

from __future__ import annotations

import random
from collections import deque
from typing import Any, Final

import numpy as np

from millrace.contracts.errors import DataError

#: Numbers, strings, bytes, and lists and mappings of them.
Plain = Any
#: Module of river's compiled statistics, which serialise their numbers to bytes themselves.
_COMPILED: Final = "river._river_rust"


def plain(value: object) -> Plain:
    """Copy the state of an object.

    Raises:
        DataError: It contains something other than plain values.
    """
    if isinstance(value, np.generic):  # float64 is a float, too
        return value.item()
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, list | tuple | deque):
        return [plain(each) for each in value]
    if isinstance(value, random.Random):
        version, numbers, gauss = value.getstate()
        return [version, list(numbers), gauss]
    if type(value).__module__.startswith("river.") and hasattr(value, "__dict__"):
        return {
            name: plain(each) for name, each in sorted(vars(value).items()) if not callable(each)
        }
    if type(value).__module__.startswith(_COMPILED):
        state = getattr(value, "__getstate__", None)
        if isinstance(found := state() if state is not None else None, bytes):
            return found
    raise DataError(
        f"its memory holds a {type(value).__name__}, which cannot be kept as plain numbers"
    )


def restored(fresh: Any, kept: Plain) -> Any:
    """Restore the state that `plain` has copied into a new object of the same kind.

    Returns:
        The object; another one if it is immutable.
    """
    if isinstance(fresh, random.Random):
        version, numbers, gauss = kept
        fresh.setstate((version, tuple(numbers), gauss))
        return fresh
    if type(fresh).__module__.startswith(_COMPILED):
        fresh.__setstate__(kept)
        return fresh
    if isinstance(fresh, deque):
        return deque(kept, maxlen=fresh.maxlen)
    if isinstance(fresh, tuple):
        return tuple(kept)
    if isinstance(kept, dict):
        for name, value in kept.items():
            setattr(fresh, name, restored(getattr(fresh, name), value))
        return fresh
    return kept
