r"""Selects rows of NumPy blocks.

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
    """Select rows of a block; returns the block itself if all rows are selected.

    Args:
        block: Array of shape (n, ...).
        places: Their indices, ascending and distinct.
    """
    return block if len(places) == len(block) else block[places]


def rows_of(block: npt.NDArray[Any]) -> list[bytes]:
    """Bytes of each row of a block, an array of shape (n, ...) with at least one row."""
    data = np.ascontiguousarray(block).tobytes()
    size = len(data) // len(block)
    return [data[start : start + size] for start in range(0, len(data), size)]
