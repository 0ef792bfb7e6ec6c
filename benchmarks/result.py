"""What a benchmark found: tables of figures, each a median with its spread, and the machine.

A result is one JSON file, ``<home>/bench/<name>.json``; `benchmarks.show` turns it into tables
for the terminal or for a page. Every repeat's value is kept, so that other statistics can be
taken later.

>>> spread([3.0, 1.0, 2.0])
Spread(median=2.0, low=1.0, high=3.0, values=[3.0, 1.0, 2.0])
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

import msgspec

from benchmarks.machine import Machine


class Spread(msgspec.Struct, frozen=True):
    """A figure over its repeats.

    Attributes:
        median: The figure.
        low: Smallest repeat.
        high: Largest repeat.
        values: All repeats, in the order in which they were taken.
    """

    median: float
    low: float
    high: float
    values: list[float]


Cell = Spread | float | int | str | None
Row = dict[str, Cell]


class Table(msgspec.Struct, frozen=True):
    """A table of figures.

    Attributes:
        title: What it shows, with the units.
        rows: A cell by column; every row has the same columns in the same order.
        note: What one must know to read it.
    """

    title: str
    rows: list[Row]
    note: str = ""


class Result(msgspec.Struct, frozen=True):
    """What one benchmark found.

    Attributes:
        name: The benchmark.
        taken_at: When it began.
        seconds: How long it took.
        quick: Whether it was a trial with small sizes, whose figures say little.
        repeats: How often each contender ran.
        machine: Where.
        tables: Its figures.
    """

    name: str
    taken_at: datetime
    seconds: float
    quick: bool
    repeats: int
    machine: Machine
    tables: list[Table]

    def save(self, folder: Path) -> Path:
        """Write it as JSON, replacing an earlier result.

        Returns:
            The file.
        """
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / f"{self.name}.json"
        draft = path.with_suffix(".draft")
        draft.write_bytes(msgspec.json.format(msgspec.json.encode(self), indent=2))
        return draft.replace(path)


def load(path: Path) -> Result:
    """Read a result.

    Raises:
        msgspec.DecodeError: The file is not one.
    """
    return msgspec.json.decode(path.read_bytes(), type=Result)


def spread(values: Sequence[float]) -> Spread:
    """Summarise the repeats of a figure; there must be at least one."""
    return Spread(statistics.median(values), min(values), max(values), list(values))


def ratio(figure: Cell, reference: Cell) -> float | None:
    """Divide medians; None where one of them is missing."""
    above, below = _middle(figure), _middle(reference)
    return above / below if above is not None and below else None


def _middle(cell: Cell) -> float | None:
    match cell:
        case Spread():
            return cell.median
        case int() | float():
            return float(cell)
        case _:
            return None
