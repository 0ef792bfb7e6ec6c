"""Retries transient Kafka errors until success, a deadline or shutdown; an attempt is a heartbeat.

An unreachable broker usually returns, and waiting for it costs nothing. A restart would load
TensorFlow and every version again, just when a backlog of windows has built up.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from math import inf
from typing import Final, TypeVar

import structlog
from confluent_kafka import KafkaException

from millrace.contracts.errors import ServerError
from millrace.infra.kafka.errors import error_of, is_transient

_log = structlog.get_logger(__name__)
T = TypeVar("T")

#: Pause between two attempts, seconds.
PAUSE_SECONDS: Final = 0.1
#: A process without a heartbeat for longer than this is stuck: no single attempt takes that long.
PULSE_SECONDS: Final = 60.0


class Stopped(Exception):  # noqa: N818  (no error: a requested shutdown)
    """The process received a shutdown request while it was retrying."""


class DeadlineExceeded(Exception):  # noqa: N818  (no error yet: the caller has an alternative)
    """No attempt has succeeded before the deadline."""


class RetryPolicy:
    """Retries on behalf of the threads that process a micro-batch, and publishes heartbeats."""

    def __init__(self, stop: threading.Event, clock: Callable[[], float] = time.monotonic) -> None:
        """Start with a heartbeat.

        Args:
            stop: Set when the process shuts down.
            clock: Seconds.
        """
        self._stop = stop
        self._clock = clock
        self._pulse = clock()
        #: Threads that are retrying after a first failed attempt, with the time of their last one.
        self._waiting: dict[int, float] = {}

    def beat(self) -> None:
        """Record a heartbeat of the calling thread."""
        self._pulse = self._clock()

    @property
    def waiting(self) -> bool:
        """Whether a thread is retrying after a first failed attempt.

        A thread whose attempt hangs does not count.
        """
        oldest = self._clock() - PULSE_SECONDS
        return any(began > oldest for began in self._waiting.copy().values())

    @property
    def silent(self) -> bool:
        """Whether the last heartbeat is older than `PULSE_SECONDS`."""
        return self._clock() - self._pulse > PULSE_SECONDS

    def call(self, act: Callable[[], T], what: str, seconds: float = inf) -> T:
        """Retry an operation until it succeeds.

        Args:
            act: The operation; it must be safe to repeat, and must return within seconds.
            what: Its description, for the log.
            seconds: How long to try; it is tried at least once.

        Raises:
            Stopped: The process is shutting down; whether the operation took effect is unknown.
            DeadlineExceeded: The deadline has passed; whether it took effect is unknown.
            KafkaException: It failed with an error that is not transient.
        """
        thread = threading.get_ident()
        ends = self._clock() + seconds
        try:
            while True:
                self.beat()
                if thread in self._waiting:
                    self._waiting[thread] = self._clock()
                try:
                    done = act()
                except ServerError as error:
                    why = str(error)
                except KafkaException as error:
                    if not is_transient(error_of(error)):
                        raise
                    why = str(error)
                else:
                    if thread in self._waiting:
                        _log.info("goes on", what=what)
                    return done
                if thread not in self._waiting:
                    self._waiting[thread] = self._clock()
                    _log.warning("waiting", what=what, why=why)
                if self._stop.wait(PAUSE_SECONDS):
                    raise Stopped(what)
                if self._clock() >= ends:
                    raise DeadlineExceeded(f"{what}: {why}")
        finally:
            self._waiting.pop(thread, None)
