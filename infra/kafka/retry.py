"""Retries transient Kafka errors until success, a deadline or shutdown; an attempt is a heartbeat.

A broker that is unreachable comes back. Waiting for it costs nothing. A restart costs loading
TensorFlow and every version, just when a backlog of windows waits.
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
#: Without a pulse for so long, the process does nothing that it could still be waiting for.
PULSE_SECONDS: Final = 60.0


class Stopped(Exception):  # noqa: N818  (no error: somebody has asked for it)
    """The process was told to stop while it waited."""


class DeadlineExceeded(Exception):  # noqa: N818  (no error yet: the caller knows another way)
    """It has not worked for as long as it may be tried."""


class RetryPolicy:
    """Waits for the threads that work on a micro-batch, and shows others that they are alive."""

    def __init__(self, stop: threading.Event, clock: Callable[[], float] = time.monotonic) -> None:
        """Begin with a pulse.

        Args:
            stop: Set when the process is to end.
            clock: Seconds.
        """
        self._stop = stop
        self._clock = clock
        self._pulse = clock()
        #: Threads that wait for something, for longer than one attempt; when the last one began.
        self._waiting: dict[int, float] = {}

    def beat(self) -> None:
        """Show that the calling thread goes on."""
        self._pulse = self._clock()

    @property
    def waiting(self) -> bool:
        """Whether something is being waited for, for longer than one attempt.

        An attempt that does not end by itself is no waiting.
        """
        oldest = self._clock() - PULSE_SECONDS
        return any(began > oldest for began in self._waiting.copy().values())

    @property
    def silent(self) -> bool:
        """Whether the last pulse is longer ago than any waiting takes."""
        return self._clock() - self._pulse > PULSE_SECONDS

    def call(self, act: Callable[[], T], what: str, seconds: float = inf) -> T:
        """Try until it works.

        Args:
            act: What to do; it must be right to do it again, and must end within seconds.
            what: What it is, in words.
            seconds: How long to try, at least once.

        Raises:
            Stopped: The process was told to stop; whether it has worked is unknown.
            DeadlineExceeded: It has not worked; whether it has is unknown.
            KafkaException: It failed, and will always fail.
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
