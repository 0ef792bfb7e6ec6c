"""Several lanes side by side: most of a case is waiting, so that two of them share a machine.

Orders go out in their turn to whichever lane is free, and results come back as they are ready::

    with Lanes(folder, jobs=2) as lanes:
        for result in lanes.play(orders):
            print(line_of(result))
"""

from __future__ import annotations

import itertools
import queue
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Final, Self

import msgspec

from millrace.infra.local.supervisor import last_words
from tests.faults.harness.lane import Order
from tests.faults.harness.report import CaseResult
from tests.places import PROJECT

#: How long a lane may take to tidy up, seconds.
_END_SECONDS: Final = 60.0


class Lanes:
    """Owns the lanes; a context."""

    def __init__(self, folder: Path, jobs: int) -> None:
        """Start nothing yet.

        Args:
            folder: Each lane gets a folder in it.
            jobs: How many lanes there are.
        """
        self._folder = folder
        self._jobs = jobs
        self._orders: deque[Order] = deque()
        self._results: queue.SimpleQueue[CaseResult] = queue.SimpleQueue()
        self._lanes: list[_Lane] = []
        self._numbers = itertools.count(1)
        self._closing = False

    def __enter__(self) -> Self:
        """Begin."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """End every lane: one that still plays breaks its case off."""
        self._closing = True
        for lane in self._lanes:
            lane.end_of_orders()
        for lane in self._lanes:
            lane.await_end()

    def play(self, orders: Sequence[Order]) -> Iterator[CaseResult]:
        """Play them, each in the first lane that is free, and yield results as they come."""
        self._orders.extend(orders)
        for _ in range(min(self._jobs, len(orders))):
            threading.Thread(target=self._feed, name="lane", daemon=True).start()
        for _ in orders:
            yield self._results.get()

    def _feed(self) -> None:
        """Give a lane its orders; one that ends in a case is followed by a fresh one."""
        lane: _Lane | None = None
        while not self._closing:
            try:
                order = self._orders.popleft()
            except IndexError:
                return  # other lanes play the last ones
            began = time.monotonic()
            lane = lane or self._start()
            result = lane.ask(order)
            if result is None and not self._closing:
                result = _broken_off(order, time.monotonic() - began, lane.await_end())
                lane = None
            if result is not None:
                self._results.put(result)

    def _start(self) -> _Lane:
        lane = _Lane(self._folder / f"lane-{next(self._numbers)}")
        self._lanes.append(lane)
        return lane


class _Lane:
    """One lane's process."""

    def __init__(self, folder: Path) -> None:
        """Start it."""
        folder.mkdir(parents=True, exist_ok=True)
        self._log = folder / "lane.log"
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "tests.faults.harness.lane", str(folder)],
                cwd=PROJECT,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                start_new_session=True,  # an interrupt is for the run, which ends its lanes
            )
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._orders, self._answers = self._process.stdin, self._process.stdout

    def ask(self, order: Order) -> CaseResult | None:
        """Have it play a case; None if it ends instead."""
        try:
            self._orders.write(msgspec.json.encode(order) + b"\n")
            self._orders.flush()
            return msgspec.json.decode(self._answers.readline(), type=CaseResult)
        except (OSError, ValueError, msgspec.MsgspecError):
            return None  # it has ended, or is being ended

    def end_of_orders(self) -> None:
        """Let it end, now."""
        with suppress(BrokenPipeError):  # it has ended by itself
            self._orders.close()

    def await_end(self) -> str:
        """Wait for its end; what it does not tidy up in time is left to its leash.

        Returns:
            How it ended, in words.
        """
        try:
            status = self._process.wait(_END_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            status = self._process.wait()
        self.end_of_orders()
        self._answers.close()
        return f"its lane ended with status {status}: {last_words(self._log)}"


def _broken_off(order: Order, seconds: float, why: str) -> CaseResult:
    return CaseResult(
        name=order.name,
        seed=order.seed,
        missing=0,
        duplicated=0,
        repeated=0,
        out_of_order=0,
        mixed=0,
        rewound=0,
        state_equal=None,
        recovery_seconds=None,
        seconds=round(seconds, 1),
        verdict="error",
        detail=why,
    )
