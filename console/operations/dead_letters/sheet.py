"""All details of one dead letter."""

from __future__ import annotations

import msgspec

from millrace.console.operations.dead_letters.content import Content, content_of
from millrace.console.operations.dead_letters.letter import (
    Letter,
    Reference,
    State,
    states,
    why_final,
)
from millrace.console.operations.dead_letters.listing import LetterLine, line_of
from millrace.console.operations.dead_letters.topic import read_bodies, read_letters, read_mended
from millrace.console.operations.dead_letters.whole import Whole, record_of, whole
from millrace.contracts.errors import DataError
from millrace.contracts.events.dead_letter import original_headers
from millrace.contracts.headers import content_type_of
from millrace.infra.settings import Settings


class LetterSheet(msgspec.Struct, frozen=True):
    """A letter, as `millrace dead-letters show --json` shows it.

    Attributes:
        letter: Its line in the list.
        why_final: Why it cannot be retried; None if it can.
        taken_offset: Offset of the accepted retry; None if there is none.
        cut: Why only the first part of its value is available; None if all of it is.
        headers: The original record's headers, as text.
        content: Its decoded value.
    """

    letter: LetterLine
    why_final: str | None
    taken_offset: int | None
    cut: str | None
    headers: list[tuple[str, str]]
    content: Content


def read_value(settings: Settings, place: Reference) -> bytes:
    """Read the whole value of a letter's refused record.

    Raises:
        DataError: There is no such letter, or the whole value is not available any more.
        ServerError: No server answers.
    """
    ((letter, message),) = read_bodies(settings, [place])
    return whole(settings, letter, message).value


def read_sheet(settings: Settings, place: Reference) -> tuple[Letter, LetterSheet]:
    """Read all details of a letter.

    Raises:
        DataError: There is no such letter.
        ServerError: No server answers.
    """
    ((letter, message),) = read_bodies(settings, [place])
    cut: str | None = None
    try:
        record = whole(settings, letter, message)
    except DataError as error:
        record, cut = record_of(message), str(error)
    mended = read_mended(settings)
    known = states(read_letters(settings, letter.time), mended)
    taken = mended.get(letter.first_origin)
    return letter, _sheet(letter, known.get(place, State.OPEN), taken, record, cut)


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
