"""The input of a soak: pumps, assets with a slow cadence, and partitions that go quiet."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Sequence
from typing import Final, NamedTuple

import numpy as np

from millrace.infra.settings import Settings
from tests.faults.harness.source import ASSETS, Source

#: Assets whose windows come so far apart, seconds; each is in a partition of its own.
SLOW: Final = ("slow-0", "slow-1", "slow-2", "slow-3")
CADENCE: Final = (31.0, 35.0)
#: Windows between two that are sent twice.
TWICE_EVERY: Final = 50


class Quiet(NamedTuple):
    """A time in which no pump of a partition sends.

    Attributes:
        partition: The partition.
        first: When it begins, seconds since the soak began.
        end: When it ends.
    """

    partition: int
    first: float
    end: float


def quiet_times(seed: int, partitions: int, seconds: float) -> list[Quiet]:
    """Draw times in which partitions are quiet; partition 0 never is, so that windows flow.

    Args:
        seed: Same seed, same times.
        partitions: How many there are.
        seconds: How long the soak lasts. Each quiet time is 3 to 5 % of it, at most 4 minutes.
    """
    rng = np.random.default_rng([seed, 31])
    found = []
    for partition in range(1, partitions):
        moment = 0.0
        while True:
            moment += float(rng.uniform(0.05, 0.1)) * seconds
            length = min(240.0, float(rng.uniform(0.03, 0.05)) * seconds)
            if moment + length > seconds:
                break
            found.append(Quiet(partition, moment, moment + length))
            moment += length
    return found


class SoakSource(Source):
    """Sends at a rate for hours; what it has sent is to be taken now and then (`Source.take`)."""

    def __init__(self, settings: Settings, seed: int) -> None:
        """Connect; nobody is quiet yet.

        Args:
            settings: Where to send.
            seed: Same seed, same windows of each asset.
        """
        super().__init__(settings, seed)
        self._quiet: Sequence[Quiet] = ()
        self._began = time.monotonic()
        self._places: Counter[int] = Counter()
        self._number = 0
        self._pauses = np.random.default_rng([seed, 32])
        self._due = {len(ASSETS) + n: 0.0 for n in range(len(SLOW))}

    def begin(self, quiet: Sequence[Quiet]) -> None:
        """Count time from now on.

        Args:
            quiet: When which partition is quiet.
        """
        self._quiet, self._began = quiet, time.monotonic()

    def name_of(self, asset: int) -> str:
        """Name of an asset: the slow ones come behind the pumps."""
        return (*ASSETS, *SLOW)[asset]

    def _flow(self, rate: float, stop: threading.Event) -> None:
        due = time.monotonic()
        while not stop.wait(max(0.0, due - time.monotonic())):
            passed = time.monotonic() - self._began
            quiet = {q.partition for q in self._quiet if q.first <= passed < q.end}
            awake = [a for a in range(len(ASSETS)) if a % self._partitions not in quiet]
            due = max(due, time.monotonic() - 1.0) + len(awake) / rate
            for asset in awake:
                self._one(asset)
            for asset, moment in self._due.items():
                if passed >= moment:
                    self._due[asset] = passed + float(self._pauses.uniform(*CADENCE))
                    self._one(asset)

    def _next(self) -> None:
        self._one(self._number % len(ASSETS))

    def _one(self, asset: int) -> None:
        number, self._number = self._number, self._number + 1
        place = self._places[asset]
        self._places[asset] += 1
        self.copies = 2 if number % TWICE_EVERY == 0 else 1
        self._emit(asset, place, number)
