"""`millrace dead-letters show`: all details of one letter, and its original bytes."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any, Final

from rich.pretty import pretty_repr

from millrace.console.cli.dead_letters.listing import place_text, visible
from millrace.console.operations.dead_letters.content import Content
from millrace.console.operations.dead_letters.letter import (
    Letter,
    parse_reference,
)
from millrace.console.operations.dead_letters.sheet import LetterSheet, read_sheet, read_value
from millrace.console.terminal.output import answers, print_json, table, text
from millrace.contracts.errors import DataError
from millrace.infra.local.address import settings_of_running_system

#: Stands for standard output in place of a file.
STDOUT: Final = "-"
#: Number of displayed rows and sensors, if there are more.
_FIRST_ROWS: Final = 8
_LAST_ROWS: Final = 2
_MOST_SENSORS: Final = 8
#: Most displayed items of a document.
_MOST_ITEMS: Final = 20
_MOST_TEXT: Final = 200


def show_letter(ref: str, raw: str | None, *, as_json: bool) -> None:
    """Print a letter, or write its original value.

    Args:
        ref: Its reference.
        raw: File for the original bytes of its value, `STDOUT` for standard output; then nothing
            else is printed. None prints the letter.
        as_json: Print one JSON object.

    Raises:
        DataError: There is no such letter, its whole value is not available any more, or the file
            cannot be written.
        ServerError: The system is not running.
        SettingsError: ``ref`` is no valid reference.
    """
    place = parse_reference(ref)
    settings = settings_of_running_system()
    if raw is not None:
        _write(read_value(settings, place), raw)
        return
    letter, sheet = read_sheet(settings, place)
    if as_json:
        print_json(sheet)
    else:
        _print(letter, sheet)


def _write(value: bytes, where: str) -> None:
    """Write a value unchanged."""
    if where == STDOUT:
        sys.stdout.buffer.write(value)
        sys.stdout.buffer.flush()
        return
    try:
        Path(where).write_bytes(value)
    except OSError as error:
        raise DataError(f"{where} cannot be written: {error.strerror}") from error


def _print(letter: Letter, sheet: LetterSheet) -> None:
    facts: list[tuple[str, Any]] = [
        ("reason", visible(letter.reason)),
        ("detail", visible(letter.detail)),
        ("refused at", letter.time),
        ("came from", place_text(letter.source)),
        ("refused first as", place_text(letter.first_origin)),
        ("state", _state(sheet)),
        ("key", visible(letter.asset)),
        ("value", f"{letter.size} bytes" + (f"; {visible(sheet.cut)}" if sheet.cut else "")),
    ]
    answers.print(table(f"dead letter {letter.place}", ("", ""), facts))
    rows = [(visible(name), visible(said, _MOST_TEXT)) for name, said in sheet.headers]
    answers.print(table("original headers", ("header", "value"), rows))
    _print_content(sheet.content)


def _state(sheet: LetterSheet) -> str:
    if sheet.taken_offset is not None:
        return f"mended: taken as offset {sheet.taken_offset}"
    if sheet.why_final is not None:
        return f"final: {sheet.why_final}"
    return sheet.letter.state


def _print_content(content: Content) -> None:
    title = f"value: {content.kind}"
    if content.kind in {"window", "normalised window"}:
        facts = [(name, visible(text(said))) for name, said in content.facts.items()]
        answers.print(table(title, ("", ""), facts))
        _print_readings(content)
    elif content.document is not None:
        answers.print(title, highlight=False)
        shown = pretty_repr(content.document, max_length=_MOST_ITEMS, max_string=_MOST_TEXT)
        for line in shown.splitlines():
            answers.print(visible(line), highlight=False)
    else:
        answers.print(title, highlight=False)
        for line in content.hexdump:
            answers.print(visible(line), highlight=False)


def _print_readings(content: Content) -> None:
    """Print the first and the last rows of the first sensors."""
    count, sensors = len(content.readings), content.sensors[:_MOST_SENSORS]
    whole = count <= _FIRST_ROWS + _LAST_ROWS
    numbers = [*range(count)] if whole else [*range(_FIRST_ROWS), *range(count - _LAST_ROWS, count)]
    rows: list[tuple[Any, ...]] = [
        (number, *content.readings[number][: len(sensors)]) for number in numbers
    ]
    if not whole:
        rows.insert(_FIRST_ROWS, ("…", *("…" for _ in sensors)))
    left = len(content.sensors) - len(sensors)
    title = f"{count} samples of {len(content.sensors)} sensors" + (
        f", the first {len(sensors)} of them" if left else ""
    )
    answers.print(table(title, ("sample", *(visible(name, 40) for name in sensors)), rows))
