"""Observes a run from outside: one consumer of the output topics.

A thread reads predictions, dead letters, alerts, outcomes, runs, registry and ledger with
``read_committed``, from their beginning, and keeps what the live view, the latency figures
and the waiting conditions need. It polls single records, so that a prediction's arrival time is not
delayed by a batch.

The thread owns the consumer and writes; other threads take a `snapshot`, under the lock.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final

from confluent_kafka import Message

from millrace.contracts.events import dead_letter
from millrace.contracts.events.drift_alert import DriftAlert
from millrace.contracts.events.ledger import LedgerEntry
from millrace.contracts.events.model_event import ModelEvent
from millrace.contracts.events.outcome import Outcome
from millrace.contracts.events.prediction import Prediction
from millrace.contracts.events.training import FINISHED, TrainingRun
from millrace.contracts.headers import header
from millrace.contracts.invalid_record import InvalidRecord
from millrace.contracts.topics import (
    DEAD_LETTERS,
    DRIFT_ALERTS,
    MODEL_EVENTS,
    OUTCOMES,
    PREDICTIONS,
    SENSOR_WINDOWS,
    SERVING_LEDGER,
    TRAINING_RUNS,
)
from millrace.contracts.wire.codec import EventReader
from millrace.infra.kafka.log_reader import LogReader
from millrace.infra.settings import Settings
from millrace.registry.state import Model, Registry, State
from millrace.verification.evidence import raw_headers
from millrace.verification.latency import Arrival

_TOPICS: Final = (
    PREDICTIONS,
    DEAD_LETTERS,
    DRIFT_ALERTS,
    OUTCOMES,
    TRAINING_RUNS,
    MODEL_EVENTS,
    SERVING_LEDGER,
)
_POLL_SECONDS: Final = 0.1
#: Interval over which the present rate is computed, seconds.
_RATE_SECONDS: Final = 3.0

OnPrediction = Callable[[Prediction], None]


@dataclass
class Seen:
    """State folded from all records so far.

    Attributes:
        ended: Places (partition, offset) of windows with a prediction or a dead letter.
        predictions: Number of predictions.
        dead_letters: Number of dead letters about windows.
        outcomes: Places of windows with an outcome.
        last_outcome: Monotonic time of the last one.
        arrivals: Latency of every prediction from the edge to this consumer.
        recent: Monotonic times of the last ones.
        alerts: All alerts.
        runs: The latest record of each run.
        registry: The fold of the registry's events.
        registry_events: The events themselves.
        fences: Ledger entries.
        event_time: Latest event time of a predicted window.
    """

    ended: set[tuple[int, int]] = field(default_factory=set)
    predictions: int = 0
    dead_letters: int = 0
    outcomes: set[tuple[int, int]] = field(default_factory=set)
    last_outcome: float = 0.0
    arrivals: list[Arrival] = field(default_factory=list)
    recent: deque[float] = field(default_factory=deque)
    alerts: list[DriftAlert] = field(default_factory=list)
    runs: dict[str, TrainingRun] = field(default_factory=dict)
    registry: Registry = field(default_factory=Registry)
    registry_events: list[ModelEvent] = field(default_factory=list)
    fences: list[LedgerEntry] = field(default_factory=list)
    event_time: datetime | None = None

    def rate(self, now: float) -> float:
        """Present rate of predictions per second."""
        while self.recent and self.recent[0] < now - _RATE_SECONDS:
            self.recent.popleft()
        return len(self.recent) / _RATE_SECONDS

    def in_progress(self, model: str) -> list[TrainingRun]:
        """Runs of a model in progress: started, or approved and not serving yet."""
        return [
            run
            for run in self.runs.values()
            if run.model == model and _under_way(run, self.registry.models.get(model))
        ]

    def waiting_runs(self, model: str) -> list[TrainingRun]:
        """Runs of a model in state waiting: there are not enough windows yet."""
        return [r for r in self.runs.values() if r.model == model and r.state == "waiting"]


def _under_way(run: TrainingRun, model: Model | None) -> bool:
    if run.state not in FINISHED:
        return run.state != "waiting"
    if run.state != "approved" or run.version is None:
        return False
    version = model.versions.get(run.version) if model else None
    return version is None or version.state in {State.REGISTERED, State.APPROVED}


class Observer:
    """Watches a system from its own thread, between `start` and `stop`.

    Args:
        settings: Address of Kafka.
        on_prediction: Called with each prediction, in the thread, outside the lock.
    """

    def __init__(self, settings: Settings, on_prediction: OnPrediction = lambda _: None) -> None:
        self.lock = threading.Lock()
        self.seen = Seen()
        self._problem: Exception | None = None
        self._on_prediction = on_prediction
        self._log = LogReader(settings, _TOPICS, more={"fetch.wait.max.ms": 50})
        self._prediction = EventReader[Prediction](Prediction)
        self._outcome = EventReader[Outcome](Outcome)
        self._alert = EventReader[DriftAlert](DriftAlert)
        self._run_of = EventReader[TrainingRun](TrainingRun)
        self._event = EventReader[ModelEvent](ModelEvent)
        self._fence = EventReader[LedgerEntry](LedgerEntry)
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._run, name="observer", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self) -> None:
        """End."""
        self._done.set()
        self._thread.join()

    def check(self) -> None:
        """Raise the exception that ended the thread, if any did."""
        if self._problem is not None:
            raise self._problem

    def _run(self) -> None:
        try:
            while not self._done.is_set():
                for topic, message in self._log.poll(_POLL_SECONDS, batch=1):
                    self._take(topic.name, message, time.time() * 1000)
        except Exception as error:  # noqa: BLE001  (kept for `check`, which raises it to its caller)
            self._problem = error
        finally:
            self._log.close()

    def _take(self, name: str, message: Message, arrived_ms: float) -> None:
        value = message.value() or b""
        try:
            if name == PREDICTIONS.name:
                prediction = self._prediction(value)
                with self.lock:
                    self._note_prediction(prediction, arrived_ms)
                self._on_prediction(prediction)
                return
            with self.lock:
                self._note(name, message, value)
        except InvalidRecord:
            return  # the checker counts unreadable records

    def _note_prediction(self, prediction: Prediction, arrived_ms: float) -> None:
        seen, source = self.seen, prediction.source
        seen.predictions += 1
        seen.ended.add((source.partition, source.offset))
        seen.arrivals.append(Arrival(source.timestamp_ms, arrived_ms, prediction.version))
        seen.recent.append(time.monotonic())
        if seen.event_time is None or prediction.interval_start > seen.event_time:
            seen.event_time = prediction.interval_start

    def _note(self, name: str, message: Message, value: bytes) -> None:
        seen = self.seen
        if name == DEAD_LETTERS.name:
            headers = raw_headers(message)
            if header(headers, dead_letter.TOPIC) == SENSOR_WINDOWS.name:
                seen.dead_letters += 1
                partition = int(header(headers, dead_letter.PARTITION) or -1)
                seen.ended.add((partition, int(header(headers, dead_letter.OFFSET) or -1)))
        elif name == OUTCOMES.name:
            source = self._outcome(value).source
            seen.outcomes.add((source.partition, source.offset))
            seen.last_outcome = time.monotonic()
        elif name == DRIFT_ALERTS.name:
            seen.alerts.append(self._alert(value))
        elif name == TRAINING_RUNS.name:
            run = self._run_of(value)
            seen.runs[run.id] = run
        elif name == MODEL_EVENTS.name:
            event = self._event(value)
            seen.registry_events.append(event)
            seen.registry.apply(event)
        elif name == SERVING_LEDGER.name:
            seen.fences.append(self._fence(value))
