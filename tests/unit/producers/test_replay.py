"""The loop sends what is due, stops when asked to, and says what it did."""

from datetime import UTC, datetime
from typing import cast

import numpy as np

from contracts.window import SensorWindow
from producers.pacing import Pacer, Tempo
from producers.replay import Summary, replay
from producers.sender import Sender


class FakeSender:
    """Takes windows; time passes only where a real one would wait."""

    def __init__(self) -> None:
        self.sent: list[SensorWindow] = []
        self.flushed = False

    def send(self, window: SensorWindow) -> None:
        """Take a window."""
        self.sent.append(window)

    def poll(self, seconds: float) -> None:
        """Wait for nothing."""

    def flush(self) -> None:
        """Know that all has arrived."""
        self.flushed = True


def some(count: int) -> list[SensorWindow]:
    """Windows, a second apart."""
    values = np.zeros((1, 1), np.float32)
    return [SensorWindow("a", ("x",), i * 1_000, 1.0, values) for i in range(count)]


def run(fake: FakeSender, pacer: Pacer, stop_after: int, *, slow_until: int = 0) -> Summary:
    """Replay ten windows."""
    return replay(
        some(10),
        cast(Sender, fake),
        pacer,
        model="m",
        training=lambda _: len(fake.sent) < slow_until,
        stopping=lambda: len(fake.sent) >= stop_after,
        progress=lambda window, slowed: None,  # noqa: ARG005  (a callback)
    )


def test_everything_is_sent_in_order_and_flushed() -> None:
    """The summary counts what was sent, and names the stretch."""
    fake = FakeSender()
    summary = run(fake, Pacer(Tempo()), 99)
    assert [window.start_ms for window in fake.sent] == [i * 1_000 for i in range(10)]
    assert fake.flushed
    assert (summary.sent, summary.interrupted) == (10, False)
    assert summary.event_from == datetime.fromtimestamp(1, UTC)
    assert summary.event_until == datetime.fromtimestamp(10, UTC)


def test_a_stop_ends_it_cleanly() -> None:
    """What was handed over before is flushed and counted."""
    fake = FakeSender()
    summary = run(fake, Pacer(Tempo()), 4)
    assert (summary.sent, summary.interrupted, fake.flushed) == (4, True, True)


def test_a_training_run_slows_the_replay() -> None:
    """Two windows at 20 recorded seconds a second take their tenth, and it is reported."""
    fake = FakeSender()
    summary = run(fake, Pacer(Tempo(), training_speed=20), 99, slow_until=3)
    assert summary.seconds > 0.09
    assert summary.slowed_seconds > 0.09
    assert summary.sent == 10
