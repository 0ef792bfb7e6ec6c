"""The trainer's process: ``python -m millrace.trainer``.

Two threads: this one schedules, starts and announces runs (`trainer.scheduling.loop`), the other
releases versions (`trainer.release.decide`), so that a training never delays a swap. A permanent
error in either ends the process with one log line; the supervisor restarts it, and it recovers its
state from the topics.
"""

import sys
import time
from typing import Final

import structlog

from millrace.contracts.topics import (
    DRIFT_ALERTS,
    MODEL_EVENTS,
    OUTCOMES,
    TRAINING_REQUESTS,
    TRAINING_RUNS,
)
from millrace.infra.kafka.retry import RetryPolicy
from millrace.infra.object_store import ObjectStore
from millrace.infra.process.exit_status import FAILED, STOPPED
from millrace.infra.process.servers import await_kafka, await_store
from millrace.infra.process.service import Service, run_service
from millrace.infra.process.watchdog import BeatWatchdog
from millrace.trainer.release.controller import ReleaseController
from millrace.trainer.scheduling.loop import Trainer
from millrace.trainer.settings import TrainerSettings

_POLL_SECONDS: Final = 0.1
_STALL_SECONDS: Final = 60.0
NEEDED: Final = (MODEL_EVENTS, TRAINING_REQUESTS, TRAINING_RUNS, DRIFT_ALERTS, OUTCOMES)
_log = structlog.get_logger("trainer")


def main() -> int:
    """Train and release until a stop signal; returns the exit status."""
    return run_service("trainer", _work, waiting_for={"servers", "topics"})


def _work(service: Service) -> int:
    settings, stop, health = service.settings, service.stop, service.health
    limits = TrainerSettings.read()
    beat = Beat()
    release = ReleaseController(settings, stop)
    await_kafka(settings, NEEDED, stop)
    await_store(settings, stop)
    health.waiting_for.discard("servers")
    trainer = Trainer(settings, limits, ObjectStore(settings), RetryPolicy(stop))
    release.start()
    health.alive = lambda: release.problem() or beat.problem()
    try:
        trainer.catch_up(beat.tick)
        health.waiting_for.discard("topics")
        _log.info("ready", models=len(trainer.models), runs=len(trainer.journal.runs))
        for watched in (beat.last, release.beat):
            BeatWatchdog(watched, limits.stall_seconds).start()
        while not stop.is_set():
            trainer.step(_POLL_SECONDS)
            beat.tick()
    finally:
        stop.set()
        trainer.close()
        release.join()
    return STOPPED if release.error is None else FAILED


class Beat:
    """Detects when the main loop hangs."""

    def __init__(self) -> None:
        """Start with a beat now."""
        self._last = time.monotonic()

    def tick(self) -> None:
        """Record an iteration of the loop."""
        self._last = time.monotonic()

    def last(self) -> float:
        """Time of the last iteration."""
        return self._last

    def problem(self) -> str | None:
        """Describe the problem; None if the loop is healthy."""
        silent = time.monotonic() - self._last
        return f"no progress for {silent:.0f} s" if silent > _STALL_SECONDS else None


if __name__ == "__main__":
    sys.exit(main())
