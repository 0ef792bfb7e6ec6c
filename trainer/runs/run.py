"""Executes a job in the fit process: data, fit, gate, artefact.

The run's record contains everything that determines the result: the end offsets of the data, the
seed, and the settings of fit and gate. So the same record gives the same artefact, bit for bit, on
the same machine.
"""

import time
from collections.abc import Callable
from typing import Any

import msgspec
import structlog

from millrace.contracts.clock import event_time, now, to_ms
from millrace.contracts.errors import DataError
from millrace.contracts.events.model_event import Registered
from millrace.contracts.events.training import TrainingRun
from millrace.infra.archive.catalogue import Catalogue
from millrace.infra.object_store import MissingObjectError, ObjectStore
from millrace.model_families.artefact import PackedArtefact, fetch, pack, publish
from millrace.trainer.data.dataset import Dataset
from millrace.trainer.learning.learn import Learned, LearnSettings, learn
from millrace.trainer.runs.job import Job, RunResult, store_result
from millrace.trainer.runs.manifest import DataManifest, fetch_manifest, lacking, pin, read_dataset

_POLL_SECONDS = 0.05
_log = structlog.get_logger(__name__)


def prepare(
    job: Job, store: ObjectStore, wait: Callable[[float], None] = time.sleep
) -> tuple[TrainingRun, Dataset]:
    """Wait until the archive covers a run's data, pin it, and read it.

    Args:
        job: The run.
        store: Where the archive is.
        wait: Sleeps for a number of seconds.

    Returns:
        The run's record with its manifest, and the data.

    Raises:
        DataError: The archive does not cover the data in time, or there is no training data.
        ServerError: The store does not answer.
    """
    run = job.run
    try:
        manifest, data = _read(job, store, Catalogue(store), wait)
    except MissingObjectError as problem:
        _log.warning("the index is not true; all is listed", run=run.id, why=str(problem))
        manifest, data = _read(job, store, Catalogue(store, whole=True), wait)
    _log.info("data is ready", run=run.id, windows=len(data))
    pinned = msgspec.structs.replace(
        run,
        manifest=manifest.key,
        manifest_digest=manifest.digest,
        windows=len(data),
        trained_from=event_time(int(data.start_ms.min())),
        trained_until=event_time(int(data.until_ms.max())),
        updated_at=now(),
    )
    return pinned, data


def make(job: Job, run: TrainingRun, data: Dataset, store: ObjectStore) -> str:
    """Fit and evaluate; unless it is a repetition, publish the files and store the result.

    Args:
        job: The run.
        run: Its record, with its manifest.
        data: Its training data.
        store: Object store for artefacts.

    Returns:
        SHA-256 of the stored result or, for a repetition, of the artefact.

    Raises:
        DataError: It cannot be fitted.
        ServerError: The store does not answer.
    """
    begin = time.monotonic()
    champion = None if job.champion is None else fetch(store, job.champion)
    settings = msgspec.convert(run.parameters["learn"], LearnSettings)
    reason = run.request
    since_ms = to_ms(reason.event_time) if reason.reason == "drift" else None
    learned = learn(data, job.spec, champion, settings, since_ms)
    _log.info("learned", run=run.id, verdict=learned.verdict, **learned.figures["rows"])
    packed = _pack(run, learned)
    if job.repeat:
        return packed.reference.digest
    reference = publish(store, packed)
    decided = msgspec.structs.replace(
        run,
        state=learned.verdict,
        verdict=learned.verdict,
        figures=learned.figures,
        detail=learned.detail,
        holdout=learned.holdout,
        artefact_digest=reference.digest,
        updated_at=now(),
        seconds=round(time.monotonic() - begin, 3),
    )
    registered = Registered(
        id=f"registered-{run.id}",
        model=run.model,
        version=_version(run),
        at=decided.updated_at,
        spec=job.spec,
        normaliser=learned.normaliser,
        artefact=reference,
        parent=run.parent,
        run_id=run.id,
        trained_from=run.trained_from,
        trained_until=run.trained_until,
    )
    return store_result(store, RunResult(decided, registered, learned.fall_back))


def _read(
    job: Job, store: ObjectStore, catalogue: Catalogue, wait: Callable[[float], None]
) -> tuple[DataManifest, Dataset]:
    """Fetch the run's manifest, or create it, and read its records."""
    run = job.run
    if run.manifest is not None and run.manifest_digest is not None:
        manifest = fetch_manifest(store, run.manifest, run.manifest_digest)
    else:
        manifest = _pin(job, store, catalogue, wait)
    return manifest, read_dataset(store, catalogue, manifest, job.spec)


def _pin(
    job: Job, store: ObjectStore, catalogue: Catalogue, wait: Callable[[float], None]
) -> DataManifest:
    waited = 0.0
    while behind := lacking(catalogue, job.ends):
        if waited > job.archive_seconds:
            raise DataError(
                f"the archive has not reached {', '.join(behind)} after {waited:.0f} s;"
                " is the archiver running? (python -m millrace.archiver)"
            )
        wait(_POLL_SECONDS)
        waited += _POLL_SECONDS
    limit: Any = job.run.parameters["max_windows"]
    return pin(store, catalogue, job.spec, job.ends, int(limit))


def _pack(run: TrainingRun, learned: Learned) -> PackedArtefact:
    return pack(
        model=run.model,
        version=_version(run),
        run_id=run.id,
        architecture=learned.architecture,
        normaliser=learned.normaliser,
        weights=learned.weights,
        optimizer=learned.optimizer,
    )


def _version(run: TrainingRun) -> int:
    if run.version is None:
        raise DataError(f"{run.id} was started without a version number")
    return run.version
