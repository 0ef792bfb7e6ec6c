"""Retries dead letters: resends their records to the source partitions.

Named letters are always sent: the stream processor accepts at most one record per origin, so a
repeated retry has no second effect. Of letters that are selected by reason, asset or time, only
open ones that would be accepted now are sent.
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
    """A retried record.

    Attributes:
        ref: The letter.
        reason: Why it had been refused.
        asset: The record's key.
        topic: Its target topic.
        partition: Its target partition.
        first_offset: Offset of its origin there.
        bytes: Size of its value.
        mended: Whether any part of it was corrected.
        offset: Its new offset; None if it was not sent.
        remark: The expected result, if it is known.
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
    """Result of a retry, or the plan of one.

    Attributes:
        dry_run: Whether nothing was sent.
        sent: Records that were sent, or would be.
        passed_over: Number of letters that were not, by reason.
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
    """Retry the named letters, or those of a selection if there is one."""
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
        records = iter(list(records))  # raises an error in any record before the first is sent
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
    """Build the records of letters; reads whole values only without a replacement value.

    Args:
        settings: Addresses of Kafka and the object store.
        bodies: The letters.
        mend: The corrections.
        done: Counts letters whose whole value is not available; None makes one an error.

    Raises:
        DataError: A whole value is not available, and ``done`` is None.
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
    """Select the letters to retry: those of the selection that are open.

    Returns:
        These, and the number of the others by state.
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
    """Why the stream processor would refuse a record; None if it would accept it."""
    refused = judge([record], registry, to_ms(now())).refused
    return f"would be refused again: {refused[0].reason}" if refused else None


def _all_sendable(bodies: Iterable[tuple[Letter, Message]]) -> list[tuple[Letter, Message]]:
    """Check all named letters before any of them is sent.

    Raises:
        DataError: One does not exist, or cannot be retried.
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
