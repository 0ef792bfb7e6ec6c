"""What a fit process is told, and what it answers: plain files and objects, no sockets.

```
<home>/trainer/<run id>/job.json       written before the process starts
                        pinned.json    the run's record once its data is pinned
                        failure.txt    why it cannot be done; one line
                        digest.txt     of a repetition: the artefact's digest
                        fit.log        what the process said
runs/<run id>/result.json              in the object store: the run is decided
```

The result is stored before anything is announced. So a trainer that dies while announcing
says exactly the same again, and a run that is decided is never fitted a second time.
"""

from pathlib import Path
from typing import Final, Literal

import msgspec

from contracts.errors import DataError
from contracts.ids import digest_of
from contracts.model_event import Approved, Artefact, ModelEvent, Registered, Rejected
from contracts.model_spec import ModelSpec
from contracts.training import TrainingRun
from infra.object_store import ObjectStore
from trainer.journal import Ends

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
    """A run to be made.

    Attributes:
        run: Its record, state ``started``; parameters hold all that decides the result.
        spec: The model.
        champion: Files of the version to start from and to beat; None for persistence.
        archive_seconds: How long to wait for the archive.
        nice: How much to yield.
        repeat: Make the recorded run again, from its manifest, and publish nothing.
    """

    run: TrainingRun
    spec: ModelSpec
    champion: Artefact | None
    archive_seconds: float
    nice: int
    repeat: bool = False

    @property
    def ends(self) -> Ends:
        """Where the run stops reading, by topic and partition."""
        return msgspec.convert(self.run.parameters["ends"], Ends, strict=False)


class RunResult(msgspec.Struct, frozen=True):
    """A decided run.

    Attributes:
        run: Its final record.
        registered: The event that makes the challenger known.
    """

    run: TrainingRun
    registered: Registered

    @property
    def events(self) -> tuple[ModelEvent, ModelEvent]:
        """What the registry is told, in order; the same result gives the same ids."""
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
    """Where a run's result is in the object store."""
    return f"runs/{run_id}/result.json"


def store_result(store: ObjectStore, result: RunResult) -> None:
    """Decide a run: from here on it has this result.

    Raises:
        ServerError: The store does not answer.
    """
    store.put(result_key(result.run.id), msgspec.json.encode(result), "application/json")


def find_result(store: ObjectStore, run_id: str) -> RunResult | None:
    """Find out whether a run is decided, and how.

    Raises:
        DataError: Its result cannot be read.
        ServerError: The store does not answer.
    """
    key = result_key(run_id)
    if key not in store.keys(key):
        return None
    try:
        return msgspec.json.decode(store.get(key), type=RunResult)
    except msgspec.DecodeError as error:
        raise DataError(f"{key} is not a run's result: {error}") from error


def write_atomically(path: Path, data: bytes) -> None:
    """Write a file so that a reader sees all of it or none."""
    draft = path.with_suffix(".draft")
    draft.write_bytes(data)
    draft.replace(path)
