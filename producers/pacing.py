"""Computes when the next window is due: pure arithmetic, with every time as an argument.

A tempo determines the wall time between two windows: recorded time divided by a speed-up, a
constant rate, or no pacing. While a training run is in progress the training speed applies as well,
and the slower of the two counts: otherwise days of recorded time would pass during a training of
20 s, which would not happen on a real machine.

>>> pacer = Pacer(Tempo(speed=600.0), training_speed=60.0)
>>> pacer.due(0, now=5.0, training=False)
5.0
>>> pacer.sent(0, due=5.0, now=5.0)
>>> pacer.due(60_000, now=5.0, training=False), pacer.due(60_000, now=5.0, training=True)
(5.1, 6.0)
"""

from dataclasses import dataclass
from typing import Final

from millrace.contracts.errors import SettingsError

#: A sender that is later than this restarts its schedule instead of catching up, seconds.
MAX_LATE: Final = 1.0


@dataclass(frozen=True)
class Tempo:
    """Pace of the windows; as fast as possible when neither is given.

    Attributes:
        speed: Recorded seconds per second.
        rate: Windows per second.

    Raises:
        SettingsError: Both are given, or one is not positive.
    """

    speed: float | None = None
    rate: float | None = None

    def __post_init__(self) -> None:
        """Refuse an invalid tempo."""
        if self.speed is not None and self.rate is not None:
            raise SettingsError("give --speed or --rate, not both")
        for name, value in (("--speed", self.speed), ("--rate", self.rate)):
            if value is not None and not value > 0:
                raise SettingsError(f"{name} is {value:g}: give a number above 0")

    def gap(self, recorded_ms: int) -> float:
        """Wall seconds between two windows that are ``recorded_ms`` of recorded time apart."""
        if self.speed is not None:
            return max(recorded_ms, 0) / 1000 / self.speed
        return 1 / self.rate if self.rate is not None else 0.0


class Pacer:
    """Stores the last window's times, and computes when the next one is due."""

    def __init__(
        self, tempo: Tempo, training_speed: float | None = None, max_idle: float | None = None
    ) -> None:
        """Choose the tempo.

        Args:
            tempo: The usual one.
            training_speed: Recorded seconds per second while a training run is in progress;
                None for no slow-down.
            max_idle: Longest wait between windows, seconds; a longer gap of the recording is
                shortened to it. None for no limit.
        """
        self._tempo = tempo
        self._training = Tempo(speed=training_speed)
        self._max_idle = max_idle
        self._last: tuple[int, float] | None = None

    def due(self, end_ms: int, now: float, *, training: bool) -> float:
        """Compute when a window is due.

        Args:
            end_ms: Event time of its end.
            now: The wall clock, seconds.
            training: Whether a training run is in progress.

        Returns:
            Wall time, seconds; in the past if the sender is late.
        """
        if self._last is None:
            return now
        last_ms, last_due = self._last
        gap = self._tempo.gap(end_ms - last_ms)
        if training:
            gap = max(gap, self._training.gap(end_ms - last_ms))
        return last_due + (gap if self._max_idle is None else min(gap, self._max_idle))

    def sent(self, end_ms: int, *, due: float, now: float) -> None:
        """Note that a window was sent, and when it was due."""
        self._last = (end_ms, max(due, now - MAX_LATE))
