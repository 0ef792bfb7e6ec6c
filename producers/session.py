"""What every edge command does around its windows: declare, show progress, stop cleanly.

The first SIGINT or SIGTERM asks the loop to end: it flushes, and the summary says what was
delivered. A second one has its usual effect.
"""

import signal
import sys
import time
from collections.abc import Callable, Iterable
from contextlib import ExitStack
from datetime import datetime
from types import FrameType, TracebackType
from typing import Final, Self

import msgspec
import typer
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    SpinnerColumn,
    TextColumn,
    TimeElapsedColumn,
)

from contracts.events import event_time
from contracts.model_spec import ModelSpec
from contracts.window import SensorWindow
from infra.declare import declare_model
from infra.settings import Settings
from infra.telemetry import Health, serve_telemetry
from producers.pacing import Pacer
from producers.replay import Summary, replay
from producers.run_watch import RunWatch
from producers.sender import Sender

#: What a shell adds to the number of the signal that ended a program.
SIGNALLED: Final = 128
#: Time between two updates of the progress bar, seconds.
_SHOW_SECONDS: Final = 0.1
_SIGNALS: Final = (signal.SIGINT, signal.SIGTERM)


class Session:
    """One run of an edge command; a context within which signals ask it to end."""

    def __init__(
        self, settings: Settings, spec: ModelSpec, *, declare: bool, as_json: bool
    ) -> None:
        """Prepare a run.

        Args:
            settings: Where Kafka is.
            spec: The model that the windows are for.
            declare: Whether to make that model known first.
            as_json: Whether to print the summary as JSON, and show no progress.
        """
        self._settings = settings
        self._spec = spec
        self._declare = declare
        self._as_json = as_json
        self._signal: int | None = None
        self._exit = ExitStack()

    @property
    def stopping(self) -> bool:
        """Whether a signal has asked the run to end."""
        return self._signal is not None

    def __enter__(self) -> Self:
        """Take the signals."""
        for number in _SIGNALS:
            self._exit.callback(signal.signal, number, signal.signal(number, self._stop))
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Give the signals back."""
        self._exit.close()

    def deliver(
        self,
        found: Iterable[SensorWindow],
        sender: Sender,
        pacer: Pacer,
        *,
        total: int | None,
        watched: bool = False,
        after: Callable[[SensorWindow], int] = lambda _: 0,
    ) -> None:
        """Send the windows and print the summary.

        Args:
            found: The windows.
            sender: Delivers them.
            pacer: Says when each is due.
            total: How many there are, if that is known.
            watched: Whether training runs slow the replay down.
            after: See `replay`.

        Raises:
            ServerError: Kafka does not answer, or a window could not be delivered.
            typer.Exit: A signal ended the run; carries the exit code.
        """
        if self._settings.telemetry_port:
            serve_telemetry(self._settings, Health())
        if self._declare:
            declare_model(self._settings, self._spec, "/millrace/edge")
        with ExitStack() as stack:
            training: Callable[[datetime], bool] = lambda _: False  # noqa: E731
            if watched:
                watch = RunWatch(self._settings, self._spec.name)
                stack.callback(watch.close)
                training = watch.training
            bar = stack.enter_context(_Bar(self._spec.name, total, shown=not self._as_json))
            summary = replay(
                found,
                sender,
                pacer,
                model=self._spec.name,
                training=training,
                stopping=lambda: self.stopping,
                progress=bar.advance,
                after=after,
            )
        _say(summary, as_json=self._as_json)
        if self._signal is not None:
            raise typer.Exit(SIGNALLED + self._signal)

    def _stop(self, number: int, _: FrameType | None) -> None:
        self._signal = number
        self._exit.close()


class _Bar:
    """A progress bar that is cheap enough to be told of every window."""

    def __init__(self, model: str, total: int | None, *, shown: bool) -> None:
        self._bar = Progress(
            SpinnerColumn(),
            TextColumn("[bold]{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[rate]:,.0f} windows/s"),
            TextColumn("{task.fields[until]}"),
            TimeElapsedColumn(),
            TextColumn("{task.fields[note]}"),
            console=Console(stderr=True),
            disable=not shown,
        )
        self._task = self._bar.add_task(model, total=total, rate=0.0, until="", note="")
        self._done = 0
        self._shown_at, self._shown_done = time.monotonic(), 0

    def __enter__(self) -> Self:
        self._bar.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._bar.update(self._task, completed=self._done)
        self._bar.stop()

    def advance(self, window: SensorWindow, slowed: bool) -> None:  # noqa: FBT001  (a callback)
        """Count a window, and show it if it is time to."""
        self._done += 1
        now = time.monotonic()
        if now - self._shown_at < _SHOW_SECONDS:
            return
        self._bar.update(
            self._task,
            completed=self._done,
            rate=(self._done - self._shown_done) / (now - self._shown_at),
            until=f"{event_time(window.end_ms):%Y-%m-%d %H:%M}",
            note="[yellow]slowed: a model is being trained" if slowed else "",
        )
        self._shown_at, self._shown_done = now, self._done


def _say(summary: Summary, *, as_json: bool) -> None:
    """Print the summary on standard output."""
    if as_json:
        sys.stdout.write(msgspec.json.encode(summary).decode() + "\n")
        return
    ended = "interrupted: " if summary.interrupted else ""
    bad = f" and {summary.bad:,} bad ones" if summary.bad else ""
    Console().print(
        f"{ended}{summary.sent:,} windows{bad} of model {summary.model} delivered in"
        f" {summary.seconds:.1f} s ({summary.windows_per_second:,.0f} windows/s)"
    )
