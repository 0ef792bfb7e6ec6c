"""Computes a version's forecasts of windows in a separate process.

`python -m millrace.console.demo.frozen_forecast JOB`

So the console does not load TensorFlow. A job file names the version, the windows and the output
file; addresses and keys come from the environment.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

import msgspec
import numpy as np
import numpy.typing as npt

from millrace.contracts.errors import MillraceError
from millrace.contracts.events.model_event import Artefact
from millrace.contracts.missing import fill_missing
from millrace.contracts.model_spec import ModelSpec
from millrace.infra.object_store import ObjectStore
from millrace.infra.process.error_line import say_error
from millrace.infra.settings import Settings
from millrace.model_families.artefact import fetch
from millrace.model_families.known import family_of

Float32 = npt.NDArray[np.float32]


class ForecastJob(msgspec.Struct, frozen=True):
    """A forecasting job.

    Attributes:
        spec: The task.
        artefact: The version's files.
        windows: ``.npy`` file, float32 of shape (n, window, sensors), physical units, NaN
            where missing.
        forecasts: ``.npy`` file to write, float32 of shape (n, steps, targets), physical
            units, NaN where a target is absent.
        nice: Nice value of the process.
    """

    spec: ModelSpec
    artefact: Artefact
    windows: str
    forecasts: str
    nice: int = 10


def forecast(job: ForecastJob, settings: Settings) -> Float32:
    """Load the version and forecast all windows.

    Raises:
        DataError: The artefact is invalid.
        ServerError: The object store does not answer.
    """
    loaded = fetch(ObjectStore(settings), job.artefact)
    family = family_of(loaded.architecture)
    family.prepare_fit()
    architecture = family.read(loaded.architecture)
    filled, present = fill_missing(np.load(job.windows))
    values = loaded.normaliser.apply(filled, present)
    output = family.forecast(architecture, loaded.weights, values, present)
    columns = job.spec.target_columns
    restored = loaded.normaliser.restore(output, columns)
    return np.where(present[:, None, list(columns)], restored, np.float32(np.nan))


def main() -> int:
    """Execute one job.

    Returns:
        Exit status.
    """
    job = msgspec.json.decode(Path(sys.argv[1]).read_bytes(), type=ForecastJob)
    os.nice(job.nice)
    try:
        made = forecast(job, Settings.read())
    except MillraceError as error:
        say_error("millrace", error)
        return 2
    draft = Path(job.forecasts).with_suffix(".draft.npy")
    np.save(draft, made)
    draft.replace(job.forecasts)
    return 0


if __name__ == "__main__":
    sys.exit(main())
