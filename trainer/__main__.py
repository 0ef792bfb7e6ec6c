"""The trainer's process: ``python -m millrace.trainer``.

Two threads: this one decides, runs and announces (`trainer.scheduling.loop`), the other releases
(`trainer.release.decide`), so that a swap never waits for a training. Machinery that breaks in
either ends the process with one line; its supervisor starts it again, and it goes on from
what the topics say.
"""

import signal
import sys
import threading
import time
from typing import Final

import structlog
from confluent_kafka import KafkaException

from millrace.contracts.errors import MillraceError
from millrace.contracts.topics import (
    DRIFT_ALERTS,
    MODEL_EVENTS,
    OUTCOMES,
    TRAINING_REQUESTS,
    TRAINING_RUNS,
)
from millrace.infra.object_store import ObjectStore
from millrace.infra.process import fault_points
from millrace.infra.process.error_line import say_error
from millrace.infra.process.logs import configure_logs
from millrace.infra.process.servers import await_kafka, await_store
from millrace.infra.process.telemetry import Health, serve_telemetry
from millrace.infra.process.watchdog import BeatWatchdog
from millrace.infra.settings import Settings
from millrace.trainer.release.controller import ReleaseController
from millrace.trainer.scheduling.loop import Trainer
from millrace.trainer.settings import TrainerSettings

_POLL_SECONDS: Final = 0.1
_STALL_SECONDS: Final = 60.0
NEEDED: Final = (MODEL_EVENTS, TRAINING_REQUESTS, TRAINING_RUNS, DRIFT_ALERTS, OUTCOMES)
_log = structlog.get_logger("trainer")


def main() -> int:
    """Train and release until told to stop."""
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    try:
        settings = Settings.read()
        limits = TrainerSettings.read()
        configure_logs(settings)
        fault_points.arm(settings.fault, settings.fault_marks)
        return run(settings, limits, stop)
    except (MillraceError, KafkaException) as error:
        say_error("trainer", error)
        return 1


def run(settings: Settings, limits: TrainerSettings, stop: threading.Event) -> int:
    """Build the collaborators and let them work.

    Args:
        settings: Addresses and the like.
        limits: When to train.
        stop: Ends the process when set.

    Returns:
        The exit code: 1 if the release thread broke.

    Raises:
        MillraceError: The trainer's own machinery broke.
    """
    beat = Beat()
    release = ReleaseController(settings, stop)
    health = Health(waiting_for={"servers", "topics"})
    serve_telemetry(settings, health)
    if not (await_kafka(settings, NEEDED, stop) and await_store(settings, stop)):
        return 0
    health.waiting_for.discard("servers")
    trainer = Trainer(settings, limits, ObjectStore(settings))
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
    return 0 if release.error is None else 1


class Beat:
    """Tells when the main loop has stopped turning."""

    def __init__(self) -> None:
        """Begin now."""
        self._last = time.monotonic()

    def tick(self) -> None:
        """Say that it turns."""
        self._last = time.monotonic()

    def last(self) -> float:
        """When it turned last."""
        return self._last

    def problem(self) -> str | None:
        """Say what is wrong, if anything."""
        silent = time.monotonic() - self._last
        return f"no progress for {silent:.0f} s" if silent > _STALL_SECONDS else None


if __name__ == "__main__":
    sys.exit(main())
