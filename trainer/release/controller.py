"""Carries out the decisions of `trainer.release.decide`, in its own thread.

Guarantee: a process publishes an event at most once unless the registry has changed. Several
    controllers are safe, because ids and epochs are derived from the registry: of two activations
    of the same epoch, every reader applies the first.
"""

import threading
import time
from typing import Final

import structlog
from confluent_kafka import KafkaException
from prometheus_client import Counter, Histogram

from millrace.contracts.clock import now
from millrace.contracts.errors import MillraceError
from millrace.contracts.events.model_event import Activated, ModelEvent
from millrace.infra.kafka.model_feed import ModelFeed
from millrace.infra.kafka.publisher import Publisher
from millrace.infra.process.error_line import say_error
from millrace.infra.settings import Settings
from millrace.trainer.release.decide import awaiting, decide
from millrace.trainer.release.replicas import LiveReplicas
from millrace.trainer.settings import SOURCE

_IDLE_SECONDS: Final = 0.1
_AWAITING_SECONDS: Final = 0.05
_STALL_SECONDS: Final = 60.0
_log = structlog.get_logger(__name__)
_events = Counter("millrace_trainer_release_events_total", "Events published", ["model", "kind"])
_activation = Histogram(
    "millrace_trainer_activation_seconds",
    "From approved to activated",
    buckets=(0.1, 0.25, 0.5, 1, 2, 4, 8, 15, 30, 60),
)


class ReleaseController:
    """Watches the registry and the replicas, and publishes the decided events."""

    def __init__(self, settings: Settings, stop: threading.Event) -> None:
        """Prepare the thread.

        Args:
            settings: Addresses and names.
            stop: Ends the thread when set; the thread sets it when it fails.
        """
        self._settings = settings
        self._stop = stop
        self._thread = threading.Thread(target=self._guarded, name="release", daemon=True)
        self._beat = time.monotonic()
        self.error: Exception | None = None

    def start(self) -> None:
        """Start the thread."""
        self._beat = time.monotonic()
        self._thread.start()

    def join(self) -> None:
        """Wait until it has ended, if it was started."""
        if self._thread.ident is not None:
            self._thread.join(_STALL_SECONDS)

    def beat(self) -> float:
        """Time of the last iteration of the thread's loop."""
        return self._beat

    def problem(self) -> str | None:
        """Describe the problem; None if the thread is healthy."""
        if self.error is not None or not self._thread.is_alive():
            return f"the release thread has ended: {self.error}"
        silent = time.monotonic() - self._beat
        return f"release: no progress for {silent:.0f} s" if silent > _STALL_SECONDS else None

    def _guarded(self) -> None:
        """Run; any exception is kept and ends the process."""
        try:
            self._run()
        except Exception as error:  # noqa: BLE001  # kept: `trainer.__main__` exits with 1
            self.error = error
            expected = isinstance(error, MillraceError | KafkaException)
            if not expected:
                _log.exception("the release thread broke")
            why = str(error) if expected else repr(error)
            say_error("trainer: release", why)
        finally:
            self._stop.set()

    def _run(self) -> None:
        feed = ModelFeed(self._settings)
        replicas = LiveReplicas(self._settings)
        publisher = Publisher(self._settings, SOURCE)
        said: set[str] = set()
        feed.catch_up()
        found: frozenset[str] = frozenset()
        while not self._stop.is_set():
            waiting = awaiting(feed.registry, found)
            live = replicas() if waiting else frozenset()
            found = live or found
            due = [] if live is None else decide(feed.registry, live, now())
            for event in due:
                if event.id not in said:
                    publisher.send(event)
                    said.add(event.id)
                    self._tell(event, feed)
            if feed.poll(_AWAITING_SECONDS if waiting else _IDLE_SECONDS):
                found = frozenset()
            self._beat = time.monotonic()
        feed.close()

    def _tell(self, event: ModelEvent, feed: ModelFeed) -> None:
        kind = type(event).__name__
        _events.labels(event.model, kind).inc()
        approved = feed.registry.models[event.model].versions[event.version].approved_at
        if isinstance(event, Activated) and approved is not None:
            _activation.observe(max(0.0, (event.at - approved).total_seconds()))
        _log.info("release", model=event.model, version=event.version, kind=kind)
