"""A main loop that hangs is noticed by a thread that needs nothing of it."""

from __future__ import annotations

import itertools
import threading

from millrace.infra.process.watchdog import BeatWatchdog


def test_a_loop_that_stands_is_ended() -> None:
    """The thread says for how long it has been silent."""
    ended: list[str] = []
    done = threading.Event()

    def end(why: str) -> None:
        ended.append(why)
        done.set()

    BeatWatchdog(lambda: 1.0, 0.05, every_seconds=0.01, end=end).start()
    assert done.wait(10)
    assert ended == ["no progress for 0 s"]


def test_a_loop_that_turns_is_left_alone() -> None:
    """Each look finds another beat."""
    looks = itertools.count()
    enough, ended = threading.Event(), threading.Event()

    def beat() -> float:
        number = next(looks)
        if number > 20:
            enough.set()
        return float(number)

    watchdog = BeatWatchdog(beat, 0.02, every_seconds=0.01, end=lambda _: ended.set())
    watchdog.start()
    assert enough.wait(10)
    watchdog.stop()
    assert not ended.is_set()
