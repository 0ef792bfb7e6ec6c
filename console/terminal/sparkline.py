"""A line of numbers as a line of characters.

>>> sparkline([0.0, 1.0, None, 2.0], 2.0)
'\u2581\u2585 \u2588'
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

_LEVELS: Final = "\u2581\u2582\u2583\u2584\u2585\u2586\u2587\u2588"


def sparkline(values: Sequence[float | None], top: float) -> str:
    """Draw values from 0 to ``top`` as bars; None as a gap."""
    steps = len(_LEVELS) - 1
    return "".join(
        " " if value is None else _LEVELS[round(steps * min(max(value / top, 0.0), 1.0))]
        for value in values
    )
