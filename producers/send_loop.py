"""Passes each window to a forwarder when it is due: the loop that all edge commands share.

```
windows ──► Pacer (due?) ──► Forwarder ──► summary
               ▲
        training in progress?
```
"""

import time
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from typing import Final

import msgspec

from millrace.contracts.clock import event_time
from millrace.contracts.errors import MillraceError
from millrace.contracts.events.window import SensorWindow
from millrace.producers.delivery.forwarder import END_SECONDS, Forwarder, SpoolCounts
from millrace.producers.pacing import Pacer

#: Longest wait of the loop before its next iteration, seconds.
LOOK_SECONDS: Final = 0.05


class Summary(msgspec.Struct, frozen=True):
    """Summary of a run.

    Attributes:
        model: The model that the windows are for.
        sent: Good windows of this run that the broker confirmed.
        bad: Bad records that were mixed in on purpose and confirmed.
        seconds: Wall time.
        windows_per_second: Good windows over wall time.
        slowed_seconds: Wall time during which a training run slowed the replay.
        event_from: End of the first window taken over; None if there was none.
        event_until: End of the last.
        interrupted: Whether a person ended it.
        spool: Figures of the spool; None if windows were sent from memory.
        not_recorded: Windows of a live source for which there was no room.
    """

    model: str
    sent: int
    bad: int
    seconds: float
    windows_per_second: float
    slowed_seconds: float
    event_from: datetime | None
    event_until: datetime | None
    interrupted: bool
    spool: SpoolCounts | None = None
    not_recorded: int = 0


def replay(
    found: Iterable[SensorWindow | None],
    forwarder: Forwarder,
    pacer: Pacer,
    *,
    model: str,
    training: Callable[[datetime], bool],
    stopping: Callable[[], bool],
    progress: Callable[[SensorWindow, bool], None],
    after: Callable[[SensorWindow], int] = lambda _: 0,
    live: bool = False,
) -> Summary:
    """Hand over windows when they are due, and wait until all of them are confirmed.

    Args:
        found: The windows, in the order in which they are due; None while a live source has none.
        forwarder: Delivers them.
        pacer: Computes when each is due.
        model: The model that they are for.
        training: Returns whether a training run is in progress at a wall time.
        stopping: Returns whether to end early.
        progress: Called with each window sent, and whether a run slows the replay.
        after: Called after each window; sends bad records and returns their number.
        live: Whether the windows end by themselves after a stop: windows that were measured until
            then are handed over.

    Returns:
        The summary. After an early end, windows that were handed over are confirmed or kept in the
        spool.

    Raises:
        MillraceError: The source failed; its earlier windows were handed over.
        ServerError: A window could not be delivered.
    """
    began = time.monotonic()
    first = last = None
    slow = _Slow(training)
    bad: list[int] = []
    try:
        for window in found:
            if window is None:
                forwarder.poll(LOOK_SECONDS)
                continue
            due = _wait(window, forwarder, pacer, slow, (lambda: False) if live else stopping)
            if due is None:
                break
            if not forwarder.send(window):
                continue  # counted by the forwarder; the next wait checks for a stop
            pacer.sent(window.end_ms, due=due, now=time.monotonic())
            spoiled = after(window)
            bad += range(forwarder.handed - spoiled + 1, forwarder.handed + 1)
            first = window.end_ms if first is None else first
            last = window.end_ms
            progress(window, slow.now)
    except MillraceError:
        forwarder.flush(END_SECONDS)  # the windows before the source's failure
        raise
    forwarder.flush()
    seconds = time.monotonic() - began
    arrived = forwarder.handed - forwarder.left
    bad_arrived = sum(number <= arrived for number in bad)
    sent = arrived - bad_arrived
    return Summary(
        model=model,
        sent=sent,
        bad=bad_arrived,
        seconds=seconds,
        windows_per_second=sent / seconds if seconds else 0.0,
        slowed_seconds=slow.seconds,
        event_from=None if first is None else event_time(first),
        event_until=None if last is None else event_time(last),
        interrupted=stopping(),
        spool=forwarder.counts(),
        not_recorded=forwarder.not_recorded,
    )


def _wait(
    window: SensorWindow,
    forwarder: Forwarder,
    pacer: Pacer,
    slow: "_Slow",
    stopping: Callable[[], bool],
) -> float | None:
    """Wait until a window is due, serving delivery reports meanwhile.

    Returns:
        When it was due; None if the replay is stopped first.
    """
    while not stopping():
        now = time.monotonic()
        due = pacer.due(window.end_ms, now, training=slow.look(now))
        if due <= now:
            return due
        forwarder.poll(min(due - now, LOOK_SECONDS))
    return None


class _Slow:
    """Whether a run slows the replay, checked every `LOOK_SECONDS`, and for how long it has."""

    def __init__(self, training: Callable[[datetime], bool]) -> None:
        self.now = False
        self.seconds = 0.0
        self._training = training
        self._looked: float | None = None

    def look(self, now: float) -> bool:
        """Check again if the interval has passed."""
        if self._looked is None or now - self._looked >= LOOK_SECONDS:
            if self.now and self._looked is not None:
                self.seconds += now - self._looked
            self._looked = now
            self.now = self._training(datetime.now(UTC))
        return self.now
