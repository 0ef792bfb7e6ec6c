"""Contenders run in turn (A B C A B C), so that whatever the machine does hits all alike."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import TracebackType
from typing import Final, Self, TypeVar

from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from millrace.console.terminal.output import remarks

T = TypeVar("T")
Tell = Callable[[float], None]
_DONE: Final = 1.0


class Bar:
    """A progress bar over all runs of a benchmark; plain lines where there is no terminal."""

    def __init__(self, name: str) -> None:
        """Prepare it."""
        self._name = name
        self._total = 1
        self._finished = 0
        self._bar = Progress(
            SpinnerColumn(),
            TextColumn("[bold]{task.fields[name]}"),
            BarColumn(),
            TextColumn("{task.description}"),
            TimeElapsedColumn(),
            console=remarks,
            disable=not remarks.is_terminal,
            transient=True,
        )
        self._task = self._bar.add_task("", total=1.0, name=name)

    def __enter__(self) -> Self:
        """Show it."""
        self._bar.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Hide it."""
        self._bar.stop()

    def runs(self, count: int) -> None:
        """Say how many runs there will be."""
        self._total = count
        self._finished = 0
        self._bar.update(self._task, total=float(count), completed=0.0)

    def begin(self, what: str) -> Tell:
        """Begin a run.

        Returns:
            What to tell which share of it is done.
        """
        self._bar.update(self._task, description=what, completed=float(self._finished))
        if not remarks.is_terminal:
            remarks.print(
                f"{self._name} {self._finished + 1}/{self._total}: {what}",
                markup=False,
                highlight=False,
            )
        before = self._finished
        self._finished += 1

        def tell(share: float) -> None:
            self._bar.update(self._task, completed=before + min(share, _DONE))

        return tell


def in_turns(
    contenders: Mapping[str, Callable[[Tell], T]], repeats: int, bar: Bar
) -> dict[str, list[T]]:
    """Run every contender once, then again, and so on.

    Args:
        contenders: What each does, by its name.
        repeats: How often.
        bar: Told of the progress.

    Returns:
        What they returned, by name, in the order of the repeats.
    """
    found: dict[str, list[T]] = {name: [] for name in contenders}
    bar.runs(repeats * len(contenders))
    for number in range(repeats):
        for name, contender in contenders.items():
            tell = bar.begin(f"{name} ({number + 1} of {repeats})")
            found[name].append(contender(tell))
            tell(_DONE)
    return found
