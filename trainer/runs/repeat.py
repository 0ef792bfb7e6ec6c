"""Makes a recorded run again and compares: ``python -m millrace.trainer.runs.repeat RUN_ID``.

The run's record says everything: its data manifest, its settings, its parent. Nothing is
published. The digest of the artefact must be the recorded one, on the same machine with the
same packages; elsewhere the last bits of floating-point sums may differ.
"""

import argparse
import json
import sys
import time
from dataclasses import asdict, dataclass

from confluent_kafka import KafkaException

from millrace.contracts.errors import DataError, MillraceError
from millrace.contracts.events.training import TrainingRun
from millrace.contracts.invalid_record import InvalidRecord
from millrace.contracts.topics import TRAINING_RUNS
from millrace.contracts.wire.codec import EventReader
from millrace.infra.kafka.log_reader import read_all
from millrace.infra.kafka.model_feed import ModelFeed
from millrace.infra.process.error_line import say_error
from millrace.infra.settings import Settings
from millrace.trainer.runs.job import job_of
from millrace.trainer.runs.runner import Done, Failed, FitProcess, forget
from millrace.trainer.settings import TrainerSettings

_POLL_SECONDS = 0.1


@dataclass(frozen=True)
class Repetition:
    """Result of a repetition.

    Attributes:
        run: The run.
        recorded: Digest of its artefact's manifest, as recorded.
        repeated: Digest of the artefact's manifest in the repetition.
    """

    run: str
    recorded: str
    repeated: str

    @property
    def same(self) -> bool:
        """Whether every bit is the same."""
        return self.recorded == self.repeated


def repeat(settings: Settings, limits: TrainerSettings, run_id: str) -> Repetition:
    """Execute a recorded run again.

    Raises:
        DataError: There is no such run, it has no artefact, or it cannot be repeated.
        ServerError: A server does not answer.
    """
    run = _find(settings, run_id)
    if run.artefact_digest is None or run.manifest is None:
        raise DataError(f"{run_id} is {run.state} and made no artefact: {run.detail}")
    feed = ModelFeed(settings)
    feed.catch_up()
    job = job_of(run, feed, limits, repeat=True)
    feed.close()
    process = FitProcess(job, settings.home, limits.fit_seconds)
    while True:
        match process.report():
            case Done(digest):
                forget(settings.home, run.id, repeat=True)
                return Repetition(run_id, run.artefact_digest, digest)
            case Failed(reason):
                raise DataError(f"{run_id} cannot be made again: {reason}")
            case _:
                time.sleep(_POLL_SECONDS)


def main() -> int:
    """Repeat a run and print the result; the exit code is 0 if the artefact is the same, else 1."""
    parser = argparse.ArgumentParser(
        prog="python -m millrace.trainer.runs.repeat", description=__doc__
    )
    parser.add_argument("run", help="the run's id")
    parser.add_argument("--json", action="store_true", help="answer as JSON")
    arguments = parser.parse_args()
    try:
        found = repeat(Settings.read(), TrainerSettings.read(), arguments.run)
    except (MillraceError, KafkaException) as error:
        say_error("millrace", error)
        return 1
    word = "the same artefact" if found.same else "ANOTHER artefact"
    answer = json.dumps({**asdict(found), "same": found.same})
    text = f"{found.run}: {word}\nrecorded {found.recorded}\nrepeated {found.repeated}"
    print(answer if arguments.json else text)  # noqa: T201  # this is a command line
    return 0 if found.same else 1


def _find(settings: Settings, run_id: str) -> TrainingRun:
    """Find a run's latest record."""
    read = EventReader[TrainingRun](TrainingRun)
    found: TrainingRun | None = None
    for message in read_all(settings, TRAINING_RUNS):
        if message.key() == run_id.encode():
            try:
                found = read(message.value() or b"")
            except InvalidRecord as problem:
                raise DataError(f"the record of {run_id} cannot be read: {problem}") from problem
    if found is None:
        raise DataError(f"there is no run {run_id}; `millrace models list` shows the runs")
    return found


if __name__ == "__main__":
    sys.exit(main())
