"""The loop sends what is due, stops when asked to, and says what it did."""

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import cast

import numpy as np
import pytest

from millrace.contracts.errors import ServerError
from millrace.contracts.events.window import SensorWindow
from millrace.contracts.headers import RawHeaders
from millrace.producers.delivery.forwarder import Forwarder, SpoolCounts
from millrace.producers.pacing import Pacer, Tempo
from millrace.producers.send_loop import Summary, replay


class FakeForwarder:
    """Takes windows, but refuses some; time passes only where a real one would wait."""

    note = ""

    def __init__(self, refused: frozenset[int] = frozenset(), left: int = 0) -> None:
        self.sent: list[SensorWindow] = []
        self.records: list[tuple[bytes | None, bytes, RawHeaders, int]] = []
        self.flushed = False
        self.handed = 0
        self.left = left
        self._refused = refused

    def counts(self) -> SpoolCounts | None:
        """Have no spool."""
        return None

    def send(self, window: SensorWindow) -> bool:
        """Take a window."""
        if window.start_ms in self._refused:
            return False
        self.sent.append(window)
        self.handed += 1
        return True

    def send_record(self, key: bytes | None, value: bytes, headers: RawHeaders, at_ms: int) -> bool:
        """Take a record."""
        self.records.append((key, value, headers, at_ms))
        self.handed += 1
        return True

    def poll(self, seconds: float) -> None:
        """Wait for nothing."""

    not_recorded = 0

    def flush(self, _: float | None = None) -> None:
        """Know that all has arrived."""
        self.flushed = True


def some(count: int) -> list[SensorWindow]:
    """Windows, a second apart."""
    values = np.zeros((1, 1), np.float32)
    return [SensorWindow("a", ("x",), i * 1_000, 1.0, values) for i in range(count)]


def run(fake: FakeForwarder, pacer: Pacer, stop_after: int, *, slow_until: int = 0) -> Summary:
    """Replay ten windows."""
    return replay(
        some(10),
        cast(Forwarder, fake),
        pacer,
        model="m",
        training=lambda _: len(fake.sent) < slow_until,
        stopping=lambda: len(fake.sent) >= stop_after,
        progress=lambda window, slowed: None,  # noqa: ARG005  (a callback)
    )


def test_everything_is_sent_in_order_and_flushed() -> None:
    """The summary counts what was sent, and names the stretch."""
    fake = FakeForwarder()
    summary = run(fake, Pacer(Tempo()), 99)
    assert [window.start_ms for window in fake.sent] == [i * 1_000 for i in range(10)]
    assert fake.flushed
    assert (summary.sent, summary.interrupted) == (10, False)
    assert summary.event_from == datetime.fromtimestamp(1, UTC)
    assert summary.event_until == datetime.fromtimestamp(10, UTC)


def test_a_stop_ends_it_cleanly() -> None:
    """What was handed over before is flushed and counted."""
    fake = FakeForwarder()
    summary = run(fake, Pacer(Tempo()), 4)
    assert (summary.sent, summary.interrupted, fake.flushed) == (4, True, True)


def test_a_training_run_slows_the_replay() -> None:
    """Two windows at 20 recorded seconds a second take their tenth, and it is reported."""
    fake = FakeForwarder()
    summary = run(fake, Pacer(Tempo(), training_speed=20), 99, slow_until=3)
    assert summary.seconds > 0.09
    assert summary.slowed_seconds > 0.09
    assert summary.sent == 10


def test_what_is_left_is_not_counted_as_sent() -> None:
    """Of ten good and ten bad records, the last five wait: two good ones and three bad ones."""
    fake = FakeForwarder(left=5)

    def spoil(_: SensorWindow) -> int:
        return int(fake.send_record(b"", b"", [], 0))

    summary = replay(
        some(10),
        cast(Forwarder, fake),
        Pacer(Tempo()),
        model="m",
        training=lambda _: False,
        stopping=lambda: False,
        progress=lambda window, slowed: None,  # noqa: ARG005  (a callback)
        after=spoil,
    )
    assert (summary.sent, summary.bad) == (8, 7)


def test_a_window_that_is_not_taken_is_passed_over() -> None:
    """A live source's window without room is skipped, and the next one is sent."""
    fake = FakeForwarder(refused=frozenset({3_000}))
    assert run(fake, Pacer(Tempo()), 99).sent == 9
    assert [window.start_ms for window in fake.sent][2:4] == [2_000, 4_000]


def test_what_a_source_gave_before_it_failed_is_delivered() -> None:
    """The source's own error ends the run, after the windows that it completed."""
    fake = FakeForwarder()

    def failing() -> Iterator[SensorWindow | None]:
        yield from some(7)
        yield None
        raise ServerError("the device is gone")

    with pytest.raises(ServerError, match="the device is gone"):
        replay(
            failing(),
            cast(Forwarder, fake),
            Pacer(Tempo()),
            model="m",
            training=lambda _: False,
            stopping=lambda: False,
            progress=lambda window, slowed: None,  # noqa: ARG005  (a callback)
            live=True,
        )
    assert len(fake.sent) == 7
    assert fake.flushed


def test_a_live_source_is_taken_to_its_end_after_a_stop() -> None:
    """What was measured before the stop is handed over; a recording stops at once."""
    fake = FakeForwarder()
    summary = replay(
        iter(some(10)),
        cast(Forwarder, fake),
        Pacer(Tempo()),
        model="m",
        training=lambda _: False,
        stopping=lambda: True,
        progress=lambda window, slowed: None,  # noqa: ARG005  (a callback)
        live=True,
    )
    assert (len(fake.sent), summary.interrupted) == (10, True)
