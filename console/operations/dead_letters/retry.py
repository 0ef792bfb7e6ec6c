"""Sends refused records back to where they came from.

Letters that are named are sent, whatever became of them before: the stream processor accepts at
most one record per origin, so that cannot have a second effect. Of letters that are chosen by
reason, asset or time, only those are sent that are open and would be accepted now.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from typing import Final

import msgspec
from confluent_kafka import Message

from millrace.console.operations.dead_letters.letter import (
    Choice,
    Letter,
    Reference,
    State,
    states,
    why_final,
)
from millrace.console.operations.dead_letters.resend import Again, Mend, Resender, again
from millrace.console.operations.dead_letters.topic import read_bodies, read_letters, read_mended
from millrace.console.operations.dead_letters.whole import Whole, record_of, whole
from millrace.console.operations.models import read_registry
from millrace.contracts.clock import now, to_ms
from millrace.contracts.errors import DataError
from millrace.infra.settings import Settings
from millrace.registry.state import Registry
from millrace.stream_processors.windows.validation import judge

_NOT_WHOLE: Final = "its whole value cannot be had any more (`millrace dead-letters show` says why)"


class SentLine(msgspec.Struct):
    """A record that was sent again.

    Attributes:
        ref: The letter.
        reason: Why it had been refused.
        asset: The record's key.
        topic: Topic that it was sent to.
        partition: Partition of it.
        first_offset: Offset there of the record that was refused first.
        bytes: Size of its value.
        mended: Whether any part of it was changed.
        offset: Its new offset; None if it was not sent.
        remark: What will come of it, where that is known.
    """

    ref: str
    reason: str
    asset: str
    topic: str
    partition: int
    first_offset: int
    bytes: int
    mended: bool
    offset: int | None = None
    remark: str = ""


class Retry(msgspec.Struct):
    """What was done, or would be.

    Attributes:
        dry_run: Whether nothing was sent.
        sent: What was sent, or would be.
        passed_over: How many letters were not, by why.
    """

    dry_run: bool
    sent: list[SentLine] = []
    passed_over: dict[str, int] = {}


def retry(
    settings: Settings,
    places: Iterable[Reference],
    choice: Choice | None,
    mend: Mend,
    *,
    dry_run: bool,
) -> Retry:
    """Send letters by name, or by choice if there is one."""
    done = Retry(dry_run)
    mended, registry = read_mended(settings), read_registry(settings)
    if choice is None:
        bodies: Iterable[tuple[Letter, Message]] = _all_sendable(read_bodies(settings, places))
    else:
        letters = read_letters(settings, choice.since)
        chosen, passed = choose(letters, choice, states(letters, mended))
        done.passed_over.update(passed)
        bodies = read_bodies(settings, chosen)
    resender = None if dry_run else Resender(settings)
    records = _records(settings, bodies, mend, None if choice is None else done)
    if choice is None:
        records = iter(list(records))  # whatever is wrong with one, before any of them is sent
    for letter, came in records:
        record = again(letter.first_origin, *came, mend)
        remark = refusal(record, registry)
        if choice is not None and remark is not None:
            done.passed_over[remark] = done.passed_over.get(remark, 0) + 1
            continue
        if (taken := mended.get(letter.first_origin)) is not None:
            remark = f"has no effect: offset {taken} was taken in its stead before"
        line = _line(letter, record, remark or "", changed=bool(mend))
        done.sent.append(line)
        if resender is not None:
            _hand_over(resender, record, line)
    if resender is not None:
        resender.confirmed()
    return done


def _records(
    settings: Settings, bodies: Iterable[tuple[Letter, Message]], mend: Mend, done: Retry | None
) -> Iterator[tuple[Letter, Whole]]:
    """The records of letters; their whole values only where no other one is given.

    Args:
        settings: Where they are.
        bodies: The letters.
        mend: What is changed.
        done: Counts those whose whole value cannot be had any more; None if there may be none.

    Raises:
        DataError: There is such a letter, and nobody counts it.
    """
    for letter, message in bodies:
        try:
            is_given = mend.value is not None
            record = record_of(message) if is_given else whole(settings, letter, message)
        except DataError:
            if done is None:
                raise
            done.passed_over[_NOT_WHOLE] = done.passed_over.get(_NOT_WHOLE, 0) + 1
            continue
        yield letter, record


def choose(
    letters: Iterable[Letter], choice: Choice, known: Mapping[Reference, State]
) -> tuple[list[Reference], Counter[str]]:
    """Decide which of the letters that are meant are sent again: those that are open.

    Returns:
        Them, and how many others there are, by what has become of them.
    """
    chosen: list[Reference] = []
    passed: Counter[str] = Counter()
    for letter in letters:
        if not choice.includes(letter):
            continue
        if known[letter.place] is State.OPEN:
            chosen.append(letter.place)
        else:
            passed[known[letter.place].value] += 1
    return chosen, passed


def refusal(record: Again, registry: Registry) -> str | None:
    """Tell why the stream processor would refuse a record; None if it would not."""
    refused = judge([record], registry, to_ms(now())).refused
    return f"would be refused again: {refused[0].reason}" if refused else None


def _all_sendable(bodies: Iterable[tuple[Letter, Message]]) -> list[tuple[Letter, Message]]:
    """All letters that were named, before any of them is sent.

    Raises:
        DataError: One is not there, or cannot be sent again.
    """
    found = list(bodies)
    for letter, _ in found:
        if (why := why_final(letter)) is not None:
            raise DataError(f"dead letter {letter.place} cannot be sent again: {why}")
    return found


def _hand_over(resender: Resender, record: Again, line: SentLine) -> None:
    def confirmed(offset: int) -> None:
        line.offset = offset

    resender.send(record, confirmed)


def _line(letter: Letter, record: Again, remark: str, *, changed: bool) -> SentLine:
    return SentLine(
        str(letter.place),
        letter.reason,
        (record.key or b"").decode(errors="replace"),
        record.origin.topic,
        record.origin.partition,
        record.origin.offset,
        len(record.value),
        changed,
        remark=remark,
    )
