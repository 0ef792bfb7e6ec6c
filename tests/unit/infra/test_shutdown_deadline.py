"""A process that was told to end is there no longer than it may be."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator

import pytest

from millrace.infra.process.shutdown_deadline import ShutdownDeadline


@pytest.fixture
def _handled() -> Iterator[None]:
    """A signal that ends nothing."""
    before = signal.signal(signal.SIGUSR1, lambda *_: None)
    yield
    signal.set_wakeup_fd(-1)
    signal.signal(signal.SIGUSR1, before)


@pytest.mark.usefixtures("_handled")
def test_it_ends_what_was_told_to_end_and_is_still_there() -> None:
    """Not before a signal came, and not for ever after."""
    stop, ended, said = threading.Event(), threading.Event(), []

    def end(why: str) -> None:
        said.append(why)
        ended.set()

    call = ShutdownDeadline(stop, 0.01, end=end)
    assert not ended.wait(0.1)
    signal.raise_signal(signal.SIGUSR1)
    assert ended.wait(5.0)
    call.join()
    assert stop.is_set()
    assert said == ["was told to end 0.01 s ago, and is still there"]
