"""Live view of a running demonstration: a panel on a terminal, plain lines elsewhere."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from datetime import datetime
from types import TracebackType
from typing import Final, Self

from rich.console import Group
from rich.live import Live
from rich.panel import Panel
from rich.progress_bar import ProgressBar
from rich.table import Table

from millrace.console.demo.accuracy import Errors
from millrace.console.terminal.output import remarks
from millrace.infra.terminal import line as styled

_PLAIN_SECONDS: Final = 5.0
_REFRESH_SECONDS: Final = 0.5
_STYLES: Final = {
    "drift": "yellow",
    "swap": "bold green",
    "training": "cyan",
    "killed": "bold red",
    "trouble": "bold red",
    "roll-back": "bold red",
}


@dataclass(frozen=True)
class Picture:
    """State of the demonstration at one time.

    Attributes:
        phase: The present phase.
        event_time: Event time reached in the recording.
        predicted: Windows with a prediction or a dead letter.
        total: Windows of the scenario.
        rate: Predictions per second.
        serving: Version that serves, by model.
        training: Whether a run is in progress.
        alerts: Number of alerts by signal.
        errors: Errors so far.
        frozen_version: The frozen model's version.
    """

    phase: str = ""
    event_time: datetime | None = None
    predicted: int = 0
    total: int = 0
    rate: float = 0.0
    serving: dict[str, int] = field(default_factory=dict)
    training: bool = False
    alerts: dict[str, int] = field(default_factory=dict)
    errors: Errors = field(default_factory=lambda: Errors(None, None, None, 0))
    frozen_version: int | None = None


class LiveView:
    """Shows pictures and event lines. A context manager.

    Args:
        title: The scenario's title.
        began: Monotonic time from which the elapsed time counts.
    """

    def __init__(self, title: str, began: float) -> None:
        self._title = title
        self._began = began
        self._live = Live(console=remarks, auto_refresh=False) if remarks.is_terminal else None
        self._shown = 0.0

    def __enter__(self) -> Self:
        """Begin."""
        if self._live is not None:
            self._live.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """End; the last picture stays."""
        if self._live is not None:
            self._live.stop()

    def tell(self, line: str) -> None:
        """Print a permanent line."""
        style = _STYLES.get(line.split(" ", 1)[0], "")
        remarks.print(styled(f"[{self._elapsed}] {line}", style), soft_wrap=True)

    def show(self, picture: Picture, *, at_once: bool = False) -> None:
        """Show a picture, at a limited rate."""
        now = time.monotonic()
        pause = _PLAIN_SECONDS if self._live is None else _REFRESH_SECONDS
        if not at_once and now - self._shown < pause:
            return
        self._shown = now
        if self._live is not None:
            self._live.update(self._panel(picture), refresh=True)
        else:
            remarks.print(f"[{self._elapsed}] {plain(picture)}", highlight=False, soft_wrap=True)

    def _panel(self, picture: Picture) -> Panel:
        rows = Table.grid(padding=(0, 2))
        rows.add_column(style="dim")
        rows.add_column()
        rows.add_row("phase", styled(picture.phase, "bold"))
        if picture.event_time is not None:
            rows.add_row("recorded time", f"{picture.event_time:%Y-%m-%d %H:%M}")
        rows.add_row("windows", _windows(picture))
        rows.add_row("serving", _serving(picture))
        rows.add_row("alerts", _alerts(picture))
        rows.add_row("error", _errors(picture))
        bar = ProgressBar(total=max(picture.total, 1), completed=picture.predicted)
        return Panel(
            Group(rows, bar),
            title=styled(f"Millrace · {self._title}"),
            subtitle=styled(self._elapsed.strip()),
        )

    @property
    def _elapsed(self) -> str:
        return f"{time.monotonic() - self._began:5.1f} s"


def plain(picture: Picture) -> str:
    """A picture in one line."""
    moment = f" · {picture.event_time:%Y-%m-%d %H:%M}" if picture.event_time else ""
    return (
        f"{picture.phase}{moment} · {_windows(picture)} · {_serving(picture)}"
        f" · alerts {_alerts(picture)} · {_errors(picture)}"
    )


def _windows(picture: Picture) -> str:
    return f"{picture.predicted} of {picture.total}, {picture.rate:.0f} windows/s"


def _serving(picture: Picture) -> str:
    names = ", ".join(f"{name} v{version}" for name, version in picture.serving.items())
    return (names or "nothing yet") + (" (training)" if picture.training else "")


def _alerts(picture: Picture) -> str:
    return ", ".join(f"{n} {signal}" for signal, n in sorted(picture.alerts.items())) or "none"


def _errors(picture: Picture) -> str:
    errors = picture.errors
    if errors.live is None or errors.persistence is None:
        return "no truth yet"
    text = f"live {errors.live:.3f}"
    if errors.frozen is not None:
        text += f", frozen v{picture.frozen_version} {errors.frozen:.3f}"
    return f"{text}, persistence {errors.persistence:.3f}"
