"""Common frame of every edge command: delivers windows, shows progress, stops cleanly.

The first SIGINT or SIGTERM stops the loop: it flushes for a few seconds, and the summary states
the numbers of windows delivered and left in the spool. A second signal has its usual effect.
"""

import signal
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack
from datetime import datetime
from types import FrameType, TracebackType
from typing import Final, Self

import msgspec
import structlog
import typer
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    SpinnerColumn,
    Task,
    TextColumn,
    TimeElapsedColumn,
)
from rich.text import Text

from millrace.contracts.clock import event_time
from millrace.contracts.events.window import SensorWindow
from millrace.contracts.wire.visible import visible, visible_json
from millrace.infra.process.telemetry import Health, serve_telemetry
from millrace.infra.settings import Settings
from millrace.infra.terminal import Terminal, line
from millrace.producers.delivery.forwarder import Forwarder
from millrace.producers.delivery.open_forwarder import Run, open_forwarder
from millrace.producers.pacing import Pacer
from millrace.producers.run_watch import RunWatch
from millrace.producers.send_loop import Summary, replay
from millrace.producers.sources.position import after as after_position

_log = structlog.get_logger(__name__)

#: Offset of the exit code of a program that a signal ended, as in a shell.
SIGNALLED: Final = 128
#: Time between two updates of the progress bar, seconds.
_SHOW_SECONDS: Final = 0.1
_SIGNALS: Final = (signal.SIGINT, signal.SIGTERM)


class Session:
    """One run of an edge command; a context within which signals stop it cleanly."""

    def __init__(self, settings: Settings, model: str, *, as_json: bool) -> None:
        """Prepare a run.

        Args:
            settings: Where Kafka is.
            model: The model that the windows are for.
            as_json: Whether to print the summary as JSON, and show no progress.
        """
        self._settings = settings
        self._model = model
        self._as_json = as_json
        self._signal: int | None = None
        self._exit = ExitStack()

    @property
    def stopping(self) -> bool:
        """Whether a signal has requested the end of the run."""
        return self._signal is not None

    def __enter__(self) -> Self:
        """Install the signal handlers."""
        for number in _SIGNALS:
            self._exit.callback(signal.signal, number, signal.signal(number, self._stop))
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Restore the former signal handlers."""
        self._exit.close()

    def deliver(
        self,
        run: Run,
        found: Sequence[SensorWindow] | Iterator[SensorWindow | None],
        pacer: Pacer,
        *,
        total: int | None,
        watched: bool = False,
        after: Callable[[Forwarder, SensorWindow], int] = lambda _, __: 0,
    ) -> None:
        """Send the windows and print the summary.

        Args:
            run: Parameters of the delivery.
            found: The windows; those of a recording, which are a sequence, resume after the last
                one that its spool has had.
            pacer: Computes when each is due.
            total: Their number, if known.
            watched: Whether training runs slow the replay down.
            after: See `replay`; also receives the forwarder.

        Raises:
            ServerError: Kafka does not answer, or a window could not be delivered.
            SettingsError: The spool cannot be used.
            typer.Exit: A signal ended the run; carries the exit code.
        """
        if self._settings.telemetry_port:
            serve_telemetry(self._settings, Health())
        with ExitStack() as stack:
            bar = stack.enter_context(_Bar(self._model, shown=not self._as_json))
            forwarder, position = self._forwarder(run, bar, stack)
            windows: Iterable[SensorWindow | None] = found
            if isinstance(found, Sequence):
                windows = left = after_position(position, found)
                total = None if total is None else total - len(found) + len(left)
                if position is not None:
                    bar.tell(
                        f"goes on after {len(found) - len(left):,} windows that an earlier run took"
                        " over; --restart begins again"
                    )
            bar.begin(total, forwarder)
            training: Callable[[datetime], bool] = lambda _: False  # noqa: E731
            if watched:
                watch = RunWatch(self._settings, self._model)
                stack.callback(watch.close)
                training = watch.training
            summary = replay(
                windows,
                forwarder,
                pacer,
                model=self._model,
                training=training,
                stopping=lambda: self.stopping,
                progress=bar.advance,
                after=lambda window: after(forwarder, window),
                live=run.live,
            )
        _say(summary, as_json=self._as_json)
        self.end()

    def end(self) -> None:
        """End the run; after a signal with the corresponding exit code.

        Raises:
            typer.Exit: A signal ended the run.
        """
        if self._signal is not None:
            raise typer.Exit(SIGNALLED + self._signal)

    def _forwarder(self, run: Run, bar: "_Bar", stack: ExitStack) -> tuple[Forwarder, bytes | None]:
        """Open the forwarder; also returns the place at which the source resumes."""
        forwarder, position = stack.enter_context(
            open_forwarder(self._settings, run, lambda: self.stopping, bar.tell)
        )
        if forwarder.found:
            bar.tell(f"{forwarder.found:,} windows of an earlier run wait in the spool: sent first")
        return forwarder, position

    def _stop(self, number: int, _: FrameType | None) -> None:
        self._signal = number
        self._exit.close()


class _Bar:
    """A progress bar that is cheap enough to be updated with every window."""

    def __init__(self, model: str, *, shown: bool) -> None:
        self._forwarder: Forwarder | None = None
        self._bar = Progress(
            SpinnerColumn(),
            TextColumn("{task.description}", style="bold", markup=False),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[rate]:,.0f} windows/s"),
            TextColumn("{task.fields[until]}"),
            TimeElapsedColumn(),
            TextColumn("{task.fields[note]}", style="yellow", markup=False),
            _Note(lambda: "" if self._forwarder is None else self._forwarder.note),
            console=Terminal(stderr=True),
            disable=not shown,
        )
        self._task = self._bar.add_task(visible(model), total=None, rate=0.0, until="", note="")
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

    def begin(self, total: int | None, forwarder: Forwarder) -> None:
        """Show the progress of the windows, and notes about their delivery."""
        self._forwarder = forwarder
        self._bar.update(self._task, total=total)

    def tell(self, said: str) -> None:
        """Print a line above the bar, or else log it."""
        if self._bar.disable or not self._bar.console.is_terminal:
            _log.warning(said)
        else:
            self._bar.console.print(said, style="yellow", highlight=False)

    def advance(self, window: SensorWindow, slowed: bool) -> None:  # noqa: FBT001  (a callback)
        """Count a window, and update the bar if the interval has passed."""
        self._done += 1
        now = time.monotonic()
        if now - self._shown_at < _SHOW_SECONDS:
            return
        self._bar.update(
            self._task,
            completed=self._done,
            rate=(self._done - self._shown_done) / (now - self._shown_at),
            until=f"{event_time(window.end_ms):%Y-%m-%d %H:%M}",
            note="slowed: a model is being trained" if slowed else "",
        )
        self._shown_at, self._shown_done = now, self._done


class _Note(ProgressColumn):
    """A note about the delivery, also updated while no window advances the bar."""

    def __init__(self, note: Callable[[], str]) -> None:
        super().__init__()
        self._note = note

    def render(self, task: Task) -> Text:  # noqa: ARG002  (asked for by rich)
        return line(self._note(), "yellow")


def _say(summary: Summary, *, as_json: bool) -> None:
    """Print the summary on standard output."""
    if as_json:
        sys.stdout.write(visible_json(msgspec.json.encode(summary)) + "\n")
        return
    ended = "interrupted: " if summary.interrupted else ""
    bad = f" and {summary.bad:,} bad ones" if summary.bad else ""
    told = Terminal(soft_wrap=True)
    told.print(
        f"{ended}{summary.sent:,} windows{bad} of model {summary.model} delivered in"
        f" {summary.seconds:.1f} s ({summary.windows_per_second:,.0f} windows/s)"
    )
    spool = summary.spool
    if spool is not None and spool.waiting:
        told.print(
            f"{spool.waiting:,} windows wait in the spool {spool.folder}: start the same command"
            " again, or `millrace edge flush`, to send them"
        )
    if summary.not_recorded:
        told.print(f"{summary.not_recorded:,} windows were not recorded for want of room")
