"""Runs the replay as a separate process: an ordinary edge, independent of the console."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Final

import msgspec

from millrace.contracts.errors import ServerError
from millrace.infra.local.supervisor import last_words

_END_SECONDS: Final = 15.0


class EdgeSummary(msgspec.Struct, frozen=True):
    """The fields of the edge's final summary that the console needs."""

    sent: int
    seconds: float
    slowed_seconds: float


class EdgeProcess:
    """One run of an edge command.

    Args:
        arguments: The command and its options, without ``--json``.
        environment: Environment of the process.
        folder: Folder for its output.
        name: Name of its files.
    """

    def __init__(
        self, arguments: Sequence[str], environment: Mapping[str, str], folder: Path, name: str
    ) -> None:
        """Start it."""
        folder.mkdir(parents=True, exist_ok=True)
        self._log = folder / f"{name}.log"
        self._output = folder / f"{name}.json"
        with self._log.open("wb") as log, self._output.open("wb") as output:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "millrace.producers", *arguments, "--json"],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=log,
                env={**environment},
                start_new_session=True,
            )
        self._held_at: float | None = None
        self._held_seconds = 0.0

    @property
    def pid(self) -> int | None:
        """Its process id while it runs."""
        return self._process.pid if self._process.poll() is None else None

    @property
    def held_seconds(self) -> float:
        """Wall time for which `hold` has paused it."""
        since = 0.0 if self._held_at is None else time.monotonic() - self._held_at
        return self._held_seconds + since

    def hold(self, held: bool) -> None:  # noqa: FBT001  (a state)
        """Pause or resume its sending."""
        if held == (self._held_at is not None):
            return
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGSTOP if held else signal.SIGCONT)
        self._held_seconds = self.held_seconds
        self._held_at = time.monotonic() if held else None

    def finished(self) -> bool:
        """Whether it has ended successfully.

        Raises:
            ServerError: It has failed; with the last lines of its log.
        """
        status = self._process.poll()
        if status is None:
            return False
        if status != 0:
            raise ServerError(f"the replay failed: {last_words(self._log)} (its log: {self._log})")
        return True

    def summary(self) -> EdgeSummary:
        """Its summary of sent windows; valid once it has finished.

        Raises:
            ServerError: It printed no summary.
        """
        try:
            return msgspec.json.decode(self._output.read_bytes(), type=EdgeSummary)
        except msgspec.DecodeError as error:
            raise ServerError(f"the replay does not say what it sent: {self._output}") from error

    def stop(self) -> None:
        """Stop it if it still runs; records that it produced are still delivered."""
        if self._process.poll() is None:
            self.hold(False)
            self._process.terminate()
            try:
                self._process.wait(_END_SECONDS)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()


def replay_arguments(
    where: str,
    *,
    after: datetime | None,
    until: datetime,
    speed: float | None,
    training_speed: float | None,
    max_idle: float | None,
) -> list[str]:
    """Options of a replay.

    Args:
        where: The dataset.
        after: Only windows that end after this.
        until: Only windows that end by this.
        speed: Recorded seconds per second; None for as fast as possible.
        training_speed: The same while a training run is in progress.
        max_idle: Longest pause, seconds; longer ones are cut to it.
    """
    arguments = ["replay", where, "--until", until.isoformat()]
    if after is not None:
        arguments += ["--from", after.isoformat()]
    if speed is None:
        arguments += ["--as-fast-as-possible"]
    else:
        arguments += ["--speed", f"{speed:.3f}"]
    if training_speed is not None:
        arguments += ["--training-speed", f"{training_speed:.3f}"]
    if max_idle is not None:
        arguments += ["--max-idle", f"{max_idle:.3f}"]
    return arguments
