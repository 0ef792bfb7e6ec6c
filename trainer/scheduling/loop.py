"""The trainer's loop; one file, since the order of its effects is its guarantee.

A run is *waiting* (published when a request cannot start yet), *started* (published before
its data is awaited; once more when the data is pinned), then *approved*, *rejected* or
*failed*. The order of effects makes a crash harmless at every point:

- A request is published before any other effect, under an id derived from its reason; so there is
  only one request per reason.
- ``started`` contains everything that determines the result (version number, parent, end offsets,
  seed, settings). A trainer that finds a run in this state executes it again under the same id.
- The result is stored before it is announced. A result that was stored by a fit process of this
  trainer is announced, not computed again (`trainer.runs.job` describes how it is verified).
  Announcing twice publishes the same events with the same ids, which the registry applies once.
"""

from collections.abc import Callable
from datetime import datetime
from typing import Any, Final

import msgspec
import structlog
from prometheus_client import Counter, Gauge, Histogram

from millrace.contracts.clock import now
from millrace.contracts.errors import DataError
from millrace.contracts.events.drift_alert import DriftAlert
from millrace.contracts.events.training import TrainingRequest, TrainingRun
from millrace.contracts.invalid_record import InvalidRecord
from millrace.contracts.topics import DRIFT_ALERTS, OUTCOMES, TRAINING_REQUESTS, TRAINING_RUNS
from millrace.contracts.wire.codec import EventReader
from millrace.infra.kafka.log_reader import LogReader
from millrace.infra.kafka.model_feed import ModelFeed
from millrace.infra.kafka.publisher import Publisher
from millrace.infra.kafka.retry import RetryPolicy
from millrace.infra.object_store import ObjectStore
from millrace.infra.process import fault_points
from millrace.infra.settings import Settings
from millrace.infra.topics.epochs import TopicEpochs
from millrace.trainer.learning.learn import LearnSettings
from millrace.trainer.release.decide import fall_back
from millrace.trainer.runs.job import Job, RunResult, fetch_result, job_of
from millrace.trainer.runs.runner import Done, Failed, FitProcess, Pinned, decided_before, forget
from millrace.trainer.scheduling.journal import Journal, OutcomeMark
from millrace.trainer.scheduling.triggers import (
    Due,
    drop_answered,
    new_requests,
    next_run,
    waiting_runs,
)
from millrace.trainer.settings import SOURCE, TrainerSettings

_log = structlog.get_logger(__name__)
_requests = Counter("millrace_trainer_requests_total", "Requests derived", ["model", "reason"])
_runs = Counter("millrace_trainer_runs_total", "Runs finished", ["model", "state"])
_seconds = Histogram(
    "millrace_trainer_run_seconds",
    "From started to finished",
    buckets=(1, 2, 5, 10, 20, 30, 60, 120, 300, 600),
)
_running = Gauge("millrace_trainer_running", "Whether a run is under way")
_open_requests = Gauge("millrace_trainer_open_requests", "Requests that no run has answered yet")

_TOPICS: Final = (TRAINING_REQUESTS, TRAINING_RUNS, DRIFT_ALERTS, OUTCOMES)


class Trainer:
    """Schedules, starts and announces runs; owned by one thread."""

    def __init__(
        self,
        settings: Settings,
        limits: TrainerSettings,
        store: ObjectStore,
        patience: RetryPolicy,
    ) -> None:
        """Create the clients; reads later.

        Args:
            settings: Address of Kafka.
            limits: When to train.
            store: Object store with the archive, and for artefacts.
            patience: Retries while the broker is unavailable.

        Raises:
            ServerError: No broker answers, or a topic is not there.
        """
        self._settings = settings
        self._limits = limits
        self._store = store
        self.journal = Journal()
        self._feed = ModelFeed(settings)
        self._tail = LogReader(settings, _TOPICS)
        self._epochs = TopicEpochs(settings, SOURCE)
        self._patience = patience
        self._publisher = Publisher(settings, SOURCE)
        self._process: FitProcess | None = None
        self._changed = True
        self._read_request = EventReader[TrainingRequest](TrainingRequest)
        self._read_run = EventReader[TrainingRun](TrainingRun)
        self._read_alert = EventReader[DriftAlert](DriftAlert)
        self._read_outcome = EventReader[OutcomeMark](OutcomeMark)

    @property
    def models(self) -> list[str]:
        """Names of the models in the registry."""
        return sorted(self._feed.registry.models)

    def catch_up(self, progress: Callable[[], None] = lambda: None) -> None:
        """Read all topics to their end; required before any decision.

        Args:
            progress: Called after each read.
        """
        while not self._tail.caught_up:
            if self._read(0.1):
                progress()
        self._feed.catch_up()

    def step(self, timeout: float) -> None:
        """Read new records, poll the running fit, decide, and act.

        Args:
            timeout: Seconds to wait for a record.

        Raises:
            KafkaException: A permanent error of the client.
            ServerError: A server does not answer.
        """
        self._read(timeout)
        self._changed = bool(self._feed.poll(0.0)) or self._changed
        self._attend()
        if self._changed:
            self._changed = False
            self._ask()
            if self._process is None:
                self._start()
            self._wait()
            _open_requests.set(len(self.journal.open_requests()))

    def close(self) -> None:
        """Kill the running fit, which is executed again after the next start, and disconnect."""
        if self._process is not None:
            self._process.kill()
        self._tail.close()
        self._feed.close()
        self._epochs.close()

    def _read(self, timeout: float) -> int:
        """Fold the records that arrive within a time; returns their number."""
        count = 0
        for topic, message in self._tail.poll(timeout):
            if not count:
                # Ends are kept as positions, because the archive uses positions.
                self._patience.call(self._epochs.refresh, "topic.epochs")
            count += 1
            value, partition, offset = message.value(), message.partition(), message.offset()
            if value is None or partition is None or offset is None:
                continue
            self._changed = True
            try:
                match topic:
                    case t if t is TRAINING_REQUESTS:
                        self.journal.see_request(self._read_request(value))
                    case t if t is TRAINING_RUNS:
                        self.journal.see_run(self._read_run(value))
                    case t if t is DRIFT_ALERTS:
                        self.journal.see_alert(self._read_alert(value))
                    case _:
                        position = self._epochs.lineage(OUTCOMES, partition).position(offset)
                        self.journal.see_outcome(self._read_outcome(value), partition, position)
            except InvalidRecord as problem:
                _log.warning("record ignored", topic=topic.name, offset=offset, why=str(problem))
        return count

    def _ask(self) -> None:
        registry, at = self._feed.registry, now()
        drop_answered(self.journal, self._limits)
        for request in new_requests(self.journal, registry, self._limits, at):
            self._publisher.send(request)
            self.journal.see_request(request)
            _requests.labels(request.model, request.reason).inc()
            _log.info("training asked for", model=request.model, why=request.detail)

    def _wait(self) -> None:
        for run in waiting_runs(self.journal, self._feed.registry, self._limits, now()):
            self._say(run)

    def _start(self) -> None:
        run = self.journal.started()
        if run is None:
            due = next_run(self.journal, self._feed.registry, self._limits)
            if due is None:
                return
            run = self._started(due, now())
            self._say(run)
        if (result := self._result_before(run.id)) is not None:
            self._announce(result)
            return
        job = self._job(run)
        self._process = FitProcess(job, self._settings.home, self._limits.fit_seconds)
        _running.set(1)
        _log.info("run started", run=run.id, version=run.version, pid=self._process.pid)

    def _result_before(self, run_id: str) -> RunResult | None:
        """Find a result that an earlier trainer stored but did not announce."""
        digest = decided_before(self._settings.home, run_id)
        if digest is None:
            return None
        try:
            return fetch_result(self._store, run_id, digest)
        except DataError as problem:
            _log.warning("a stored result is not ours", run=run_id, why=str(problem))
            return None

    def _started(self, due: Due, at: datetime) -> TrainingRun:
        """Build the ``started`` record, with everything that determines the result."""
        model = self._feed.registry.models[due.request.model]
        taken = [
            *model.versions,
            *(r.version or 0 for r in self.journal.runs_of(due.request.model)),
        ]
        return TrainingRun(
            id=due.run_id,
            model=due.request.model,
            request=due.request,
            state="started",
            updated_at=at,
            answers=due.answers,
            version=max(taken) + 1,
            parent=None if model.serving is None else model.serving.version,
            parameters={
                "ends": {
                    topic: {str(partition): end for partition, end in by_partition.items()}
                    for topic, by_partition in self.journal.ends.items()
                },
                "max_windows": self._limits.max_windows,
                "known_until": self.journal.progress[due.request.model].latest_ms,
                "learn": msgspec.to_builtins(LearnSettings()),
            },
            detail=due.request.detail,
        )

    def _job(self, run: TrainingRun, **more: Any) -> Job:
        return job_of(run, self._feed, self._limits, **more)

    def _attend(self) -> None:
        """Handle the next report of the running fit."""
        if self._process is None:
            return
        run_id = self._process.job.run.id
        match self._process.report():
            case Pinned(run):
                self._say(run)
            case Done(digest):
                self._process = None
                self._announce(fetch_result(self._store, run_id, digest))
            case Failed(reason):
                self._process = None
                self._fail(self.journal.runs[run_id], reason)
            case None:
                return
        self._changed = True

    def _announce(self, result: RunResult) -> None:
        """Publish the registry events in order, and then the final state of the run.

        The verdict applies only to this run's version: if the registry refuses it, or has another
        version under its number, the run has failed, and the other version is not approved.
        """
        registered, verdict = result.events
        fault_points.reached("trainer.before-registered")
        self._publisher.send(registered)
        fault_points.reached("trainer.between-registered-and-verdict")
        self._feed.catch_up()
        if not self._feed.registry.is_registered(result.registered):
            number = result.registered.version
            refused = (r.reason for r in reversed(self._feed.registry.refusals))
            why = next(refused, "another version has its number")
            self._fail(result.run, f"the registry refuses version {number}: {why}")
            forget(self._settings.home, result.run.id)
            return
        self._publisher.send(verdict)
        self._feed.catch_up()
        model = self._feed.registry.models[result.run.model]
        undone = fall_back(model, result.run.parent or 0, result.fall_back, now())
        if undone is not None:
            self._publisher.send(undone)
            _log.warning("champion failed", model=undone.model, why=undone.detail)
        self._finish(result.run)
        forget(self._settings.home, result.run.id)

    def _fail(self, run: TrainingRun, reason: str) -> None:
        self._finish(msgspec.structs.replace(run, state="failed", detail=reason, updated_at=now()))

    def _finish(self, run: TrainingRun) -> None:
        begun = self.journal.runs[run.id].updated_at
        self._say(run)
        _runs.labels(run.model, run.state).inc()
        _seconds.observe((run.updated_at - begun).total_seconds())
        _running.set(0)
        self._changed = True

    def _say(self, run: TrainingRun) -> None:
        """Publish a run's state and fold it."""
        self._publisher.send(run)
        self.journal.see_run(run)
        _log.info("run", id=run.id, model=run.model, state=run.state, detail=run.detail)
