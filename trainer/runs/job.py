"""Job and result of a fit process: plain files and objects, no sockets.

```
<home>/trainer/<run id>/job.json       written before the process starts
                        pinned.json    the run's record once its data is pinned
                        failure.txt    why the run failed; one line
                        digest.txt     SHA-256 of result.json; of a repetition, the artefact's
                        fit.log        output of the process
runs/<run id>/result.json              in the object store: the run is decided
```

The result is stored before any event is announced, and the run's folder is kept until all events
are. So a trainer that dies while announcing publishes the same events again.

Any client with write access to the bucket could store a result there. Therefore a result is
announced only if its SHA-256 equals the one in the run's local folder, written by the fit process.
A result without it (forged, or from a machine that is lost) is ignored: the run is executed again
from its record, which gives the same artefact, and overwrites it.
"""

from typing import Final, Literal

import msgspec

from millrace.contracts.errors import DataError
from millrace.contracts.events.model_event import (
    Approved,
    Artefact,
    ModelEvent,
    Registered,
    Rejected,
)
from millrace.contracts.events.training import TrainingRun
from millrace.contracts.ids import digest_of
from millrace.contracts.model_spec import ModelSpec
from millrace.infra.kafka.model_feed import ModelFeed
from millrace.infra.object_store import ObjectStore
from millrace.trainer.settings import TrainerSettings

#: Offset after the last record, by topic and partition.
Ends = dict[str, dict[int, int]]

JOB: Final = "job.json"
PINNED: Final = "pinned.json"
FAILURE: Final = "failure.txt"
LOG: Final = "fit.log"
DIGEST: Final = "digest.txt"

#: Exit codes of a fit process.
DONE: Final = 0
CANNOT: Final = 1
BROKEN_MACHINERY: Final = 3


class Job(msgspec.Struct, frozen=True):
    """A run to be executed.

    Attributes:
        run: Its record, state ``started``; its parameters determine the result.
        spec: The model.
        champion: Files of the version to start from and to beat; None for persistence.
        archive_seconds: How long to wait for the archive.
        nice: Nice value of the process.
        repeat: Execute the recorded run again, from its manifest, and publish nothing.
    """

    run: TrainingRun
    spec: ModelSpec
    champion: Artefact | None
    archive_seconds: float
    nice: int
    repeat: bool = False

    @property
    def ends(self) -> Ends:
        """End offsets of the run's data, by topic and partition."""
        return msgspec.convert(self.run.parameters["ends"], Ends, strict=False)


class RunResult(msgspec.Struct, frozen=True):
    """A decided run.

    Attributes:
        run: Its final record.
        registered: The event that registers the challenger.
        fall_back: Why the champion has failed and persistence should serve again; empty if it has
            not.
    """

    run: TrainingRun
    registered: Registered
    fall_back: str = ""

    @property
    def events(self) -> tuple[ModelEvent, ModelEvent]:
        """The registry events to publish, in order; the same result gives the same ids."""
        run, made = self.run, self.registered
        verdict: Literal["approved", "rejected"] = run.verdict or "rejected"
        kind = Approved if verdict == "approved" else Rejected
        judged = kind(
            id=f"{verdict}-" + digest_of(run.model, made.version, run.id),
            model=run.model,
            version=made.version,
            at=run.updated_at,
            detail=run.detail,
        )
        return made, judged


def result_key(run_id: str) -> str:
    """Key of a run's result in the object store."""
    return f"runs/{run_id}/result.json"


def store_result(store: ObjectStore, result: RunResult) -> str:
    """Store a run's result.

    Returns:
        Its SHA-256, hexadecimal: the run is decided once that is in its local folder.

    Raises:
        ServerError: The store does not answer.
    """
    data = msgspec.json.encode(result)
    return store.put(result_key(result.run.id), data, "application/json")


def fetch_result(store: ObjectStore, run_id: str, digest: str) -> RunResult:
    """Fetch the result of a decided run.

    Args:
        store: Object store with the result.
        run_id: The run.
        digest: Its SHA-256, from the fit process.

    Raises:
        DataError: It is missing, or is not the one that the fit process stored.
        ServerError: The store does not answer.
    """
    key = result_key(run_id)
    try:
        return msgspec.json.decode(store.get(key, digest=digest), type=RunResult)
    except msgspec.DecodeError as error:
        raise DataError(f"{key} is not a run's result: {error}") from error


def job_of(
    run: TrainingRun, feed: ModelFeed, limits: TrainerSettings, *, repeat: bool = False
) -> Job:
    """Build the job from a run's record.

    Raises:
        DataError: The registry does not know the run's model or parent.
    """
    model = feed.registry.models.get(run.model)
    parent = None if model is None else model.versions.get(run.parent or 0)
    if model is None or parent is None:
        raise DataError(f"{run.id}: the registry does not know {run.model} {run.parent}")
    return Job(
        run, model.spec, parent.registered.artefact, limits.archive_seconds, limits.nice, repeat
    )
