"""Detects whether a training run of a model is in progress, so that a replay can be slowed.

It reads `training.runs` and `model.events`. A run is in progress from ``started`` until it is
rejected or failed, or approved and its version serves.
"""

from datetime import datetime, timedelta
from typing import Final

from millrace.contracts.events.training import TrainingRun
from millrace.contracts.topics import TRAINING_RUNS
from millrace.contracts.wire.codec import EventReader
from millrace.infra.kafka.log_reader import LogReader
from millrace.infra.kafka.model_feed import ModelFeed
from millrace.infra.settings import Settings
from millrace.registry.state import Model, State

#: A run without an event for this long counts as aborted together with its trainer.
SILENT_AFTER: Final = timedelta(minutes=10)
#: An approved version that does not serve within this time no longer slows the replay.
UNSERVED_AFTER: Final = timedelta(minutes=1)


def in_progress(run: TrainingRun, model: Model | None, now: datetime) -> bool:
    """Decide whether a run slows the replay down.

    Args:
        run: The latest record of the run.
        model: Its model in the registry, if it is known.
        now: The wall clock, UTC.
    """
    age = now - run.updated_at
    if run.state == "started":
        return age < SILENT_AFTER
    if run.state != "approved" or age >= UNSERVED_AFTER:
        return False
    version = model.versions.get(run.version) if model and run.version is not None else None
    return version is None or version.state in {State.REGISTERED, State.APPROVED}


class RunWatch:
    """Watches the runs of one model; owned by one thread."""

    def __init__(self, settings: Settings, model: str) -> None:
        """Start at the first event.

        Raises:
            ServerError: No broker answers, or a topic does not exist.
        """
        self._model = model
        self._runs: dict[str, TrainingRun] = {}
        self._read = EventReader[TrainingRun](TrainingRun)
        self._feed = ModelFeed(settings)
        self._log = LogReader(settings, [TRAINING_RUNS])

    def training(self, now: datetime) -> bool:
        """Process new events, and return whether a run is in progress; does not block."""
        for _, message in self._log.poll(0):
            run = self._read.valid(message.value())
            if run is not None and run.model == self._model:
                self._runs[run.id] = run
        self._feed.poll(0)
        model = self._feed.registry.models.get(self._model)
        return any(in_progress(run, model, now) for run in self._runs.values())

    def close(self) -> None:
        """Close the clients."""
        self._log.close()
        self._feed.close()
