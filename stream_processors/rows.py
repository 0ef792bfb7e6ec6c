r"""Blocks of numbers, taken apart.

>>> rows_of(np.array([[1, 2], [3, 4]], np.uint8))
[b'\x01\x02', b'\x03\x04']
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

_Number = TypeVar("_Number", bound=np.generic)


def picked(block: npt.NDArray[_Number], places: Sequence[int]) -> npt.NDArray[_Number]:
    """Some rows of a block; without a copy where that is all of them.

    Args:
        block: Array of shape (n, ...).
        places: Which, ascending and each once.
    """
    return block if len(places) == len(block) else block[places]


def rows_of(block: npt.NDArray[Any]) -> list[bytes]:
    """Bytes of each row of a block, an array of shape (n, ...) with at least one row."""
    data = np.ascontiguousarray(block).tobytes()
    size = len(data) // len(block)
    return [data[start : start + size] for start in range(0, len(data), size)]
