"""A service whose clock is wrong: ``-m tests.faults.harness.clock_launcher SECONDS MODULE ...``.

What the service takes for the present is moved before any of its modules is imported: the
wall clock of Python, our own `contracts.clock.now`, and the timestamps that the Kafka client
gives to records. Clocks that only measure (`time.monotonic`) are right, as they are on a
machine whose date is wrong.
"""

from __future__ import annotations

import runpy
import sys
import time
from datetime import UTC, datetime
from typing import Any

import confluent_kafka

_right_time = time.time


def shift(seconds: float) -> None:
    """Move the present, for everything that is imported from now on.

    Args:
        seconds: How far the clock is ahead; negative if it is behind.
    """
    right = confluent_kafka.Producer

    def wrong_time() -> float:
        return _right_time() + seconds

    class Producer(right):  # type: ignore[valid-type,misc]  # a class at run time
        """Gives records the wrong time, too."""

        def produce(self, *arguments: Any, **more: Any) -> None:
            more.setdefault("timestamp", int(wrong_time() * 1000))
            super().produce(*arguments, **more)

    time.time = wrong_time
    time.time_ns = lambda: int(wrong_time() * 1e9)
    confluent_kafka.Producer = Producer  # type: ignore[misc]  # the point of it

    from millrace.contracts import clock  # noqa: PLC0415  # not before the clock is wrong

    clock.now = lambda: datetime.fromtimestamp(wrong_time(), UTC)


if __name__ == "__main__":
    _, ahead, module, *arguments = sys.argv
    shift(float(ahead))
    sys.argv = [module, *arguments]
    runpy.run_module(module, run_name="__main__", alter_sys=True)
