"""The frozen model: forecasts of the first approved trained version for all windows.

It shows the result without any retraining, and is computed once, in a separate process, as soon as
there is such a version.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

import msgspec
import numpy as np

from millrace.console.demo.accuracy import Floats
from millrace.console.demo.frozen_forecast import ForecastJob
from millrace.contracts.errors import ServerError
from millrace.contracts.events.model_event import Artefact
from millrace.contracts.model_spec import ModelSpec
from millrace.infra.local.supervisor import last_words
from millrace.verification.source_windows import SourceWindow

_END_SECONDS: Final = 10.0


class FrozenModel:
    """A version's forecasts of all windows.

    Args:
        folder: Folder for its files.
        spec: The task.
        artefact: Its files.
        windows: Windows to forecast from.
        environment: Environment of the process.
    """

    def __init__(
        self,
        folder: Path,
        spec: ModelSpec,
        artefact: Artefact,
        windows: Sequence[SourceWindow],
        environment: Mapping[str, str],
    ) -> None:
        """Start the process."""
        self._names = [(window.asset, window.start_ms) for window in windows]
        folder.mkdir(parents=True, exist_ok=True)
        self._result = folder / "frozen-forecasts.npy"
        self._log = folder / "frozen.log"
        self._forecasts: dict[tuple[str, int], Floats] | None = None
        inputs = folder / "frozen-windows.npy"
        np.save(inputs, np.stack([window.values for window in windows]))
        job = folder / "frozen-job.json"
        job.write_bytes(
            msgspec.json.encode(ForecastJob(spec, artefact, str(inputs), str(self._result)))
        )
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "millrace.console.demo.frozen_forecast", str(job)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env={**environment, "TF_CPP_MIN_LOG_LEVEL": "2"},
                start_new_session=True,
            )

    @property
    def pid(self) -> int | None:
        """Its process id while it runs."""
        return self._process.pid if self._process.poll() is None else None

    def forecasts(self) -> Mapping[tuple[str, int], Floats] | None:
        """Forecasts by asset and start of the window; None until they are computed.

        Each has shape (steps, targets), physical units, NaN where a target is absent.

        Raises:
            ServerError: The process failed.
        """
        status = self._process.poll()
        if status is None:
            return None
        if status != 0:
            raise ServerError(
                f"the frozen model could not forecast: {last_words(self._log)}"
                f" (its log: {self._log})"
            )
        if self._forecasts is None:
            made = np.load(self._result).astype(np.float64)
            self._forecasts = dict(zip(self._names, made, strict=True))
        return self._forecasts

    def stop(self) -> None:
        """End the process if it still runs."""
        if self._process.poll() is None:
            self._process.terminate()
            self._process.wait(_END_SECONDS)
