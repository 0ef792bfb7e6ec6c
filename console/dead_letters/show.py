"""`millrace dead-letters show`: everything about one letter, and its original bytes."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any, Final

import msgspec
from rich.pretty import pretty_repr

from millrace.console.dead_letters.content import Content, content_of
from millrace.console.dead_letters.letter import Letter, State, parse_reference, states, why_final
from millrace.console.dead_letters.listing import LetterLine, line_of, place_text, visible
from millrace.console.dead_letters.topic import read_bodies, read_letters, read_mended
from millrace.console.dead_letters.whole import Whole, held, whole
from millrace.console.terminal.output import answers, print_json, table, text
from millrace.contracts.errors import DataError
from millrace.contracts.events.dead_letter import original_headers
from millrace.contracts.headers import content_type_of
from millrace.infra.local.address import settings_of_running_system

#: Standard output, in place of a file.
STDOUT: Final = "-"
#: Of more rows or sensors, only these are shown to people.
_FIRST_ROWS: Final = 8
_LAST_ROWS: Final = 2
_MOST_SENSORS: Final = 8
#: Of a document for people.
_MOST_ITEMS: Final = 20
_MOST_TEXT: Final = 200


class LetterSheet(msgspec.Struct, frozen=True):
    """A letter, as `millrace dead-letters show --json` shows it.

    Attributes:
        letter: What the list says of it.
        why_final: Why it cannot be sent again; None if it can.
        taken_offset: Offset of the record that was taken in the end; None if none was.
        cut: Why only the head of its value is here; None if all of it is.
        headers: The original record's headers, as text.
        content: What its value says.
    """

    letter: LetterLine
    why_final: str | None
    taken_offset: int | None
    cut: str | None
    headers: list[tuple[str, str]]
    content: Content


def show_letter(ref: str, raw: str | None, *, as_json: bool) -> None:
    """Print a letter, or write its original value.

    Args:
        ref: Its place.
        raw: File for the original bytes of its value, `STDOUT` for standard output; nothing
            else is printed then. None prints the letter.
        as_json: One object.

    Raises:
        DataError: There is no such letter, its whole value cannot be had any more, or the file
            cannot be written.
        ServerError: Nothing runs.
        SettingsError: ``ref`` is no place.
    """
    place = parse_reference(ref)
    settings = settings_of_running_system()
    ((letter, message),) = read_bodies(settings, [place])
    if raw is not None:
        _write(whole(settings, letter, message).value, raw)
        return
    cut: str | None = None
    try:
        record = whole(settings, letter, message)
    except DataError as error:
        record, cut = held(message), str(error)
    mended = read_mended(settings)
    known = states(read_letters(settings, letter.time), mended)
    taken = mended.get(letter.first_origin)
    sheet = _sheet(letter, known.get(place, State.OPEN), taken, record, cut)
    if as_json:
        print_json(sheet)
    else:
        _print(letter, sheet)


def _write(value: bytes, where: str) -> None:
    """Write a value as it is."""
    if where == STDOUT:
        sys.stdout.buffer.write(value)
        sys.stdout.buffer.flush()
        return
    try:
        Path(where).write_bytes(value)
    except OSError as error:
        raise DataError(f"{where} cannot be written: {error.strerror}") from error


def _sheet(
    letter: Letter, state: State, taken: int | None, record: Whole, cut: str | None
) -> LetterSheet:
    headers = original_headers(record.headers)
    return LetterSheet(
        line_of(letter, state),
        why_final(letter),
        taken,
        cut,
        [(name, data.decode(errors="replace")) for name, data in headers],
        content_of(record.value, content_type_of(headers)),
    )


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
    """The first and the last rows, of the first sensors."""
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
