"""ADWIN's checks: is there a border in the window with different means on its two sides?

The bound is that of Bifet and Gavalda's section 4.1, with the window's variance and the
natural logarithm of its width for the number of tests, term for term as river computes it.
"""

from __future__ import annotations

import functools
import math
from typing import Annotated, Final

import msgspec
import numpy as np

from millrace.drift.detectors.adwin_buckets import (
    BUCKETS,
    LEVELS,
    TIMES,
    TOTALS,
    Flags,
    made,
    width,
)
from millrace.drift.detectors.alarm import Alarm
from millrace.drift.detectors.base import spec_of
from millrace.drift.detectors.series import Floats, Ints

NAME: Final = "ADWIN"
_SIZE: Final = 2.0 ** np.arange(LEVELS)


class AdwinSettings(msgspec.Struct, frozen=True):
    """Sensitivity of a test, with river's defaults.

    Attributes:
        delta: Significance, in (0, 1).
        clock: Values between two checks, a power of two.
        shortest: Least number of values on either side of a border that is checked.
        grace: A window no wider than this is not checked.
    """

    delta: Annotated[float, msgspec.Meta(gt=0, lt=1)] = 0.002
    clock: Annotated[int, msgspec.Meta(ge=1)] = 32
    shortest: Annotated[int, msgspec.Meta(ge=1)] = 5
    grace: Annotated[int, msgspec.Meta(ge=0)] = 10

    def __post_init__(self) -> None:
        """Validate the clock: checks are due only where no bucket is half full."""
        if self.clock & (self.clock - 1):
            raise ValueError(f"clock must be a power of two; got {self.clock}")

    @property
    def spec(self) -> str:
        """Test and settings, in river's names."""
        return spec_of(
            NAME,
            {
                "delta": self.delta,
                "clock": self.clock,
                "min_window_length": self.shortest,
                "grace_period": self.grace,
            },
        )


class Borders:
    """All borders of all checks, from the oldest to the newest.

    Attributes:
        changed: Checks that found a change, int64, ascending.
    """

    def __init__(
        self,
        n: Ints,
        totals: Floats,
        variances: Floats,
        slots: tuple[Flags, Floats],
        settings: AdwinSettings,
    ) -> None:
        """Check all borders.

        Args:
            n: Values of each checked lane since its start, int64 (checks,), at least one.
            totals: Total of each window, float64 (checks,).
            variances: Variance of each window times its width, float64 (checks,).
            slots: Buckets of each window, from `Buckets.at`.
            settings: Sensitivity of the tests.
        """
        used = int(np.count_nonzero(made(n.max())))
        order = np.arange(used)[::-1]
        shape = (n.size, used * BUCKETS)
        is_there, buckets = slots
        self._is_there = is_there[:, order].reshape(shape)
        self._times = buckets[:, order, TIMES].reshape(shape)
        taken = buckets[:, order, TOTALS].reshape(shape)
        self._width = width(n).astype(np.float64)
        sizes = np.where(self._is_there, np.repeat(_SIZE[order], BUCKETS), 0.0)
        older = np.add.accumulate(sizes, axis=1)
        newer = self._width[:, None] - older
        older_total = np.add.accumulate(taken, axis=1)
        # The rest after each bucket, subtracted one by one: in river's order, so bit for bit equal.
        left = np.subtract.accumulate(np.concatenate((totals[:, None], taken), axis=1), axis=1)
        least = settings.shortest
        looked_at = self._is_there & (older >= least) & (newer >= least)
        chance = np.array([_chance(settings.delta, wide) for wide in self._width.tolist()])[:, None]
        spread = (variances / self._width)[:, None]
        with np.errstate(divide="ignore", invalid="ignore"):
            self._gap = older_total / older - left[:, 1:] / newer
            lengths = 1.0 / (older - least + 1.0) + 1.0 / (newer - least + 1.0)
            self._bound = np.sqrt(2.0 * lengths * spread * chance) + 2.0 / 3.0 * chance * lengths
            self._over = looked_at & (np.abs(self._gap) > self._bound)
        self.changed = np.flatnonzero(self._over.any(axis=1))

    def alarm(self, check: int) -> Alarm:
        """Build a check's alarm, from the border with the largest ratio to its bound."""
        over = np.flatnonzero(self._over[check])
        border = over[(np.abs(self._gap[check, over]) / self._bound[check, over]).argmax()]
        newer = border + 1 + self._is_there[check, border + 1 :].argmax()
        gap = float(self._gap[check, border])
        return Alarm(
            statistic=abs(gap),
            threshold=float(self._bound[check, border]),
            rising=gap < 0.0,
            evidence_from=int(self._times[check, newer]),
            samples=int(self._width[check]),
        )


@functools.lru_cache(maxsize=4096)
def _chance(delta: float, wide: float) -> float:
    """Logarithm of the bound, by Python's `math`: NumPy's may differ in the last bit."""
    return math.log(2.0 * math.log(wide) / delta)
