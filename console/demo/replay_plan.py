"""How fast a story is told: pure arithmetic on its windows.

The replay follows recorded time, sped up so that windows come at a wanted average rate.
While a training run is in progress it is slowed down, since a training that takes seconds
here would take as many seconds on the real machine, and not days. For the same reason it
stands still while a few seconds' windows wait for their predictions, as when a program was
killed and starts again. Long silences of the recording, in which nothing could happen, are cut
short.
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

#: The replay should take about this long, within the limits below, seconds.
WANTED_SECONDS: Final = 60.0
#: Windows/s, at most.
FASTEST: Final = 120.0
#: Windows/s of each asset, at most: between an alarm and the start of its training lies about
#: a second, in which recorded time must not run away.
FASTEST_PER_ASSET: Final = 25.0
#: Windows/s of each asset while a training run is in progress.
TRAINING_PER_ASSET: Final = 0.33
#: The replay stands still while the windows of so many of its seconds wait.
WAITING_SECONDS: Final = 3.0
#: Silences are cut to this many seconds of the replay.
MAX_IDLE_SECONDS: Final = 1.0
#: Halvings of the interval in which the speed is looked for.
_HALVINGS: Final = 60


@dataclass(frozen=True)
class ReplayPlan:
    """A story's windows and their pace.

    Attributes:
        training: Windows of the first training stretch.
        replayed: Windows after it.
        rate: Wanted windows per second of the replay, on average.
        speed: Recorded seconds per second.
        training_speed: The same while a training run is in progress.
        most_waiting: Windows that may wait for their predictions before it stands still.
        max_idle_seconds: What longer waits are cut to.
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
    """Choose the speeds of a story.

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
    """Find the speed at which pauses, each cut to a longest wait, add up to a time.

    >>> round(speed_for(np.array([600.0, 600.0, 86400.0]), 2.2, 1.0))
    1000

    Args:
        pauses: Recorded seconds between windows.
        seconds: What they are to add up to.
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
