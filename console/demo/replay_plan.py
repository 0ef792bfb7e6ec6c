"""Pace of a scenario's replay: pure arithmetic on its windows.

The replay follows recorded time, sped up to a wanted average rate of windows. While a training run
is in progress it is slowed down, because a training takes seconds on a real machine as well, and
not days of recorded time. For the same reason it pauses while the windows of a few seconds have no
predictions yet, for example after a program was killed. Long gaps of the recording are cut short.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

import numpy as np
import numpy.typing as npt

from millrace.contracts.clock import to_ms
from millrace.producers.sources.recording import Story
from millrace.verification.source_windows import SourceWindow

#: Target duration of the replay, within the limits below, seconds.
WANTED_SECONDS: Final = 60.0
#: Largest rate, windows/s.
FASTEST: Final = 120.0
#: Largest rate per asset, windows/s: an alarm's training starts about a second after it, in which
#: recorded time must not advance too far.
FASTEST_PER_ASSET: Final = 25.0
#: Windows/s of each asset while a training run is in progress.
TRAINING_PER_ASSET: Final = 0.33
#: The replay pauses while the windows of this many of its seconds have no predictions, seconds.
WAITING_SECONDS: Final = 3.0
#: Longest gap in the replay, seconds; longer ones are cut to it.
MAX_IDLE_SECONDS: Final = 1.0
#: Bisection steps in the search for the speed.
_HALVINGS: Final = 60


@dataclass(frozen=True)
class ReplayPlan:
    """A scenario's windows and their pace.

    Attributes:
        training: Windows of the first training stretch.
        replayed: Windows after it.
        rate: Wanted windows per second of the replay, on average.
        speed: Recorded seconds per second.
        training_speed: The same while a training run is in progress.
        most_waiting: Number of windows without predictions at which the replay pauses.
        max_idle_seconds: Longest gap; longer ones are cut to it.
    """

    training: int
    replayed: int
    rate: float
    speed: float
    training_speed: float
    most_waiting: int
    max_idle_seconds: float = MAX_IDLE_SECONDS


def plan_replay(
    windows: Sequence[SourceWindow],
    story: Story,
    *,
    rate: float | None,
    training_rate: float | None,
) -> ReplayPlan:
    """Choose the speeds of a scenario.

    Args:
        windows: All its windows, at least one of them after the training stretch.
        story: Where the training stretch ends.
        rate: Windows per second; None to choose.
        training_rate: Windows per second while a training run is in progress; None to choose.
    """
    ends = np.sort(np.array([window.end_ms for window in windows], dtype=np.int64))
    cut = boundary(story.train_until)
    replayed = ends[ends > cut]
    assets = len({window.asset for window in windows})
    if rate is None:
        rate = min(len(replayed) / WANTED_SECONDS, FASTEST, FASTEST_PER_ASSET * assets)
    if training_rate is None:
        training_rate = TRAINING_PER_ASSET * assets
    pauses = np.diff(replayed) / 1000
    speed = speed_for(pauses, len(replayed) / rate, MAX_IDLE_SECONDS)
    return ReplayPlan(
        training=len(ends) - len(replayed),
        replayed=len(replayed),
        rate=rate,
        speed=speed,
        training_speed=speed * min(training_rate / rate, 1.0),
        most_waiting=math.ceil(rate * WAITING_SECONDS),
    )


def speed_for(pauses: npt.NDArray[np.float64], seconds: float, max_idle: float) -> float:
    """Find the speed at which pauses, each limited to ``max_idle``, add up to ``seconds``.

    >>> round(speed_for(np.array([600.0, 600.0, 86400.0]), 2.2, 1.0))
    1000

    Args:
        pauses: Recorded seconds between windows.
        seconds: Wanted sum.
        max_idle: Longest wait, seconds.

    Returns:
        Recorded seconds per second.
    """
    if not pauses.any():
        return 1.0
    slow, fast = 1e-3, float(pauses.sum()) / seconds + 1.0
    for _ in range(_HALVINGS):
        middle = math.sqrt(slow * fast)
        if np.minimum(pauses / middle, max_idle).sum() > seconds:
            slow = middle
        else:
            fast = middle
    return fast


def boundary(moment: datetime) -> int:
    """Windows that end by this time (milliseconds) belong to the stretch before it."""
    return to_ms(moment)
