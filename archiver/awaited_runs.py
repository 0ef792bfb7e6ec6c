"""Detects from `training.runs` whether a training run is waiting for the archive."""

from __future__ import annotations

from millrace.contracts.events.training import FINISHED, TrainingRun
from millrace.contracts.topics import TRAINING_RUNS
from millrace.contracts.wire.codec import EventReader
from millrace.infra.kafka.log_reader import LogReader
from millrace.infra.settings import Settings


class AwaitedRuns:
    """Finds runs that are waiting for the archive: started, without a data manifest yet."""

    def __init__(self, settings: Settings) -> None:
        """Start reading `training.runs`."""
        self._tail = LogReader(settings, [TRAINING_RUNS])
        self._read = EventReader[TrainingRun](TrainingRun)
        self._open: set[str] = set()

    def waiting(self) -> bool:
        """Read new records, and return whether any run is waiting for the archive."""
        for _, message in self._tail.poll(0.0):
            run = self._read.valid(message.value())
            if run is None:
                continue  # the trainer, which owns the topic, reports it
            if run.state == "started" and run.manifest is None:
                self._open.add(run.id)
            elif run.state in FINISHED or run.manifest is not None:
                self._open.discard(run.id)
        return bool(self._open)

    def close(self) -> None:
        """Close the consumer."""
        self._tail.close()
