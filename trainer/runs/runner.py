"""Starts a run in its own process and polls its progress without blocking."""

import os
import shutil
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import msgspec

from millrace.contracts.errors import DataError, ServerError
from millrace.contracts.events.training import TrainingRun
from millrace.trainer.runs.job import BROKEN_MACHINERY, DIGEST, DONE, FAILURE, JOB, LOG, PINNED, Job

#: One thread of arithmetic: results are reproducible, and serving keeps its cores.
ENVIRONMENT: Final = {
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "TF_NUM_INTRAOP_THREADS": "1",
    "TF_NUM_INTEROP_THREADS": "1",
    "TF_CPP_MIN_LOG_LEVEL": "2",
    "TF_ENABLE_ONEDNN_OPTS": "0",
    "TF_DETERMINISTIC_OPS": "1",
    "KERAS_BACKEND": "tensorflow",
    "CUDA_VISIBLE_DEVICES": "",
    "PYTHONHASHSEED": "0",
    "ARROW_DEFAULT_MEMORY_POOL": "system",
}
_KILL_SECONDS: Final = 5.0


@dataclass(frozen=True)
class Pinned:
    """The run's data is pinned, in its record."""

    run: TrainingRun


@dataclass(frozen=True)
class Done:
    """The run is decided, and its result is in the object store; or it was repeated.

    Attributes:
        digest: SHA-256 of the stored result or, for a repetition, of the artefact.
    """

    digest: str


@dataclass(frozen=True)
class Failed:
    """The run failed, with the reason."""

    reason: str


Report = Pinned | Done | Failed


def folder_of(home: Path, run_id: str, *, repeat: bool = False) -> Path:
    """Path of a run's local folder; a repetition has its own.

    Guarantee: it is a direct child of the trainer's folder, for any id.

    Raises:
        DataError: The id would lead to another path.
    """
    trainer = (home / "trainer").resolve()
    name = f"repeat-{run_id}" if repeat else run_id
    folder = trainer / name
    if name in {"", ".", ".."} or folder.resolve() != folder or folder.parent != trainer:
        raise DataError(
            f"run {run_id!r} is no name of a folder in {trainer}; ids of runs are letters,"
            " digits, '.', '_' and '-'"
        )
    return folder


def decided_before(home: Path, run_id: str) -> str | None:
    """Read the result digest that an earlier fit process wrote, if it finished.

    Raises:
        DataError: The id names no folder of a run.
    """
    try:
        return (folder_of(home, run_id) / DIGEST).read_text()
    except FileNotFoundError:
        return None


def forget(home: Path, run_id: str, *, repeat: bool = False) -> None:
    """Remove a run's local folder, which is no longer needed.

    Raises:
        DataError: The id names no folder of a run.
    """
    shutil.rmtree(folder_of(home, run_id, repeat=repeat), ignore_errors=True)


class FitProcess:
    """A running fit process; owned by one thread.

    Guarantee: the fit process ends with this process, for any cause, because it reads a pipe that
        only this process holds open.
    """

    def __init__(self, job: Job, home: Path, limit_seconds: float) -> None:
        """Start it.

        Args:
            job: The run.
            home: Folder for run files; the run's own is emptied first.
            limit_seconds: Time limit of the run.
        """
        self.job = job
        self.folder = folder_of(home, job.run.id, repeat=job.repeat)
        forget(home, job.run.id, repeat=job.repeat)
        self.folder.mkdir(parents=True)
        (self.folder / JOB).write_bytes(msgspec.json.encode(job))
        self._deadline = time.monotonic() + limit_seconds
        self._limit = limit_seconds
        self._pinned = False
        with (self.folder / LOG).open("wb") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "millrace.trainer.runs.fit_process", str(self.folder)],
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=log,
                env={**os.environ, **ENVIRONMENT},
            )

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    def report(self) -> Report | None:
        """Return the next report; None if there is none.

        Raises:
            ServerError: A server that the run needs does not answer.
        """
        code = self._process.poll()
        if code is not None:
            self._let_go()
        pinned = self.folder / PINNED
        if not self._pinned and pinned.exists():
            self._pinned = True
            return Pinned(msgspec.json.decode(pinned.read_bytes(), type=TrainingRun))
        if code is None:
            if time.monotonic() > self._deadline:
                self.kill()
                return Failed(f"it took more than {self._limit:.0f} s and was ended")
            return None
        if code == DONE:
            return Done((self.folder / DIGEST).read_text())
        if code == BROKEN_MACHINERY:
            raise ServerError(f"{self.job.run.id} was broken off: {self._last_words()}")
        if code < 0:
            return Failed(f"its process was ended by signal {-code} (too little memory?)")
        failure = self.folder / FAILURE
        return Failed(failure.read_text() if failure.exists() else self._last_words())

    def kill(self) -> None:
        """Kill the process."""
        self._process.kill()
        self._process.wait(_KILL_SECONDS)
        self._let_go()

    def _let_go(self) -> None:
        if self._process.stdin is not None:
            self._process.stdin.close()

    def _last_words(self) -> str:
        lines = (self.folder / LOG).read_text(errors="replace").strip().splitlines()
        return f"{lines[-1] if lines else 'it said nothing'} ({self.folder / LOG})"
