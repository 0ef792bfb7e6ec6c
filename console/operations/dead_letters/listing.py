"""Dead letters as lines, with their states."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

import msgspec

from millrace.console.operations.dead_letters.letter import Choice, Letter, Reference, State, states
from millrace.console.operations.dead_letters.topic import read_letters, read_mended
from millrace.infra.settings import Settings


class LetterLine(msgspec.Struct, frozen=True):
    """A letter, as `millrace dead-letters list --json` shows it.

    Attributes:
        ref: Its place in `dead.letters`, the argument of the other commands.
        time: When it was refused.
        reason: Reason code.
        asset: Its key.
        state: open, sent again, mended or final.
        topic: Topic of the record that was refused.
        partition: Its partition.
        offset: Its offset.
        first_offset: Offset of the original record of the retries.
        bytes: Size of its value.
        detail: The reason in a sentence.
    """

    ref: str
    time: datetime
    reason: str
    asset: str
    state: str
    topic: str
    partition: int
    offset: int
    first_offset: int
    bytes: int
    detail: str


def line_of(letter: Letter, state: State) -> LetterLine:
    """A letter for programs."""
    return LetterLine(
        str(letter.place),
        letter.time,
        letter.reason,
        letter.asset,
        state.value,
        *letter.source,
        letter.first_origin.offset,
        letter.size,
        letter.detail,
    )


def choose_letters(
    settings: Settings, choice: Choice
) -> tuple[list[Letter], Mapping[Reference, State]]:
    """Read the selected letters, oldest first, with their states.

    Raises:
        ServerError: No broker answers, or a topic is not there.
    """
    every = read_letters(settings, choice.since)
    known = states(every, read_mended(settings))
    return [letter for letter in every if choice.includes(letter)], known
