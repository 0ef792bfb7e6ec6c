"""An edge at one steady rate after another: ``python -m benchmarks.steady_edge PLAN``.

PLAN is a JSON file: a list of ``{"rate": windows/s, "seconds": s}``. The windows are those of
the simulated fleet's quiet days, in one stretch of event time over all rates, so that an edge
that is started anew for each rate does not send the past again. For each rate one line of JSON
on standard output says when it began and ended and what was sent; an edge that is told to end
says so of the rate that it was at, if it has sent anything, and of no later one.

They go through a spool on disk, as those of every edge. Windows that are due are sent every
`TICK_SECONDS`; one that is late is sent at once, and none is left out, so the mean rate holds
as long as the machine lets it.
"""

from __future__ import annotations

import signal
import sys
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import msgspec

from millrace.infra.settings import Settings
from millrace.producers.delivery.forwarder import Forwarder
from millrace.producers.delivery.open_forwarder import Run, open_forwarder
from millrace.producers.delivery.spool_folder import SpoolOptions, SpoolOwner
from millrace.producers.sources.simulate import quiet_windows

TICK_SECONDS: Final = 0.005
SOURCE: Final = "/millrace/benchmarks"


class Step(msgspec.Struct, frozen=True):
    """A rate.

    Attributes:
        rate: Windows per second.
        seconds: For how long.
    """

    rate: float
    seconds: float


class Sent(msgspec.Struct, frozen=True):
    """What was sent at a rate.

    Attributes:
        rate: Windows per second that were asked for.
        windows: How many were sent.
        began_ms: When, milliseconds since the epoch.
        ended_ms: When it was over.
        whole: Whether it was sent to its end.
    """

    rate: float
    windows: int
    began_ms: float
    ended_ms: float
    whole: bool = True


def main() -> int:
    """Send all steps of a plan, or until told to end."""
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    steps = msgspec.json.decode(Path(sys.argv[1]).read_bytes(), type=list[Step])
    settings = Settings.read()
    owner = SpoolOwner("benchmarks", settings.namespace)
    run = Run(None, SOURCE, owner, SpoolOptions())
    with open_forwarder(settings, run, stop.is_set, _tell) as (forwarder, _):
        _send(steps, forwarder, stop.is_set)
        forwarder.flush()
    return 0


def _send(steps: list[Step], forwarder: Forwarder, stopping: Callable[[], bool]) -> None:
    total = round(sum(step.rate * step.seconds for step in steps))
    windows = quiet_windows(total, datetime.now(UTC))
    for step in steps:
        began, sent = time.time(), 0
        wanted = round(step.rate * step.seconds)
        while sent < wanted and not stopping():
            due = min(wanted, int((time.time() - began) * step.rate) + 1)
            for _ in range(due - sent):
                forwarder.send(next(windows))
            sent = due
            forwarder.poll(TICK_SECONDS)
        if sent:
            line = Sent(step.rate, sent, began * 1000, time.time() * 1000, sent >= wanted)
            print(msgspec.json.encode(line).decode(), flush=True)


def _tell(what: str) -> None:
    print(what, file=sys.stderr)


if __name__ == "__main__":
    sys.exit(main())
