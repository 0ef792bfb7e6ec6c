"""`millrace dead-letters retry`: refused records go back to where they came from.

Letters that are named are sent, whatever became of them before: the stream processor takes at
most one record of a first origin, so that cannot have a second effect. Of letters that are
chosen by reason, asset or time, only those are sent that are open and would be taken now.
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final

import msgspec
from confluent_kafka import Message

from millrace.console.dead_letters.letter import (
    Choice,
    Letter,
    Reference,
    State,
    parse_reference,
    parse_since,
    states,
    why_final,
)
from millrace.console.dead_letters.listing import place_text, visible
from millrace.console.dead_letters.resend import Again, Mend, Resender, again
from millrace.console.dead_letters.topic import read_bodies, read_letters, read_mended
from millrace.console.dead_letters.whole import Whole, held, whole
from millrace.console.operations.models import read_registry
from millrace.console.terminal.output import answers, print_json, table
from millrace.contracts.clock import now, to_ms
from millrace.contracts.errors import DataError, SettingsError
from millrace.contracts.events.dead_letter import Origin
from millrace.infra.local.address import settings_of_running_system
from millrace.infra.settings import Settings
from millrace.registry.state import Registry
from millrace.stream_processors.windows.validation import judge

#: Standard input, in place of a file.
STDIN: Final = "-"
#: Lines of a table for people; the rest is counted.
_MOST_LINES: Final = 50
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


def retry_letters(
    refs: Sequence[str],
    *,
    every: bool,
    reason: str | None,
    asset: str | None,
    since: str | None,
    value: str | None,
    key: str | None,
    content_type: str | None,
    dry_run: bool,
    as_json: bool,
) -> None:
    """Send records again, and wait until the broker has them.

    Args:
        refs: Letters by name.
        every: All letters.
        reason: Letters with this reason.
        asset: Letters of this asset.
        since: Letters that were refused since then.
        value: File with another value for the one letter that is named; `STDIN` for standard
            input.
        key: Another key for it.
        content_type: Another media type for it.
        dry_run: Send nothing, only tell.
        as_json: One object.

    Raises:
        DataError: There is no such letter, it cannot be sent again, or its whole value cannot be
            had any more.
        ServerError: Nothing runs, or Kafka does not confirm.
        SettingsError: Nothing is chosen, or too much.
    """
    places = {parse_reference(ref) for ref in refs}
    by_choice = every or any(part is not None for part in (reason, asset, since))
    if bool(places) == by_choice:
        raise SettingsError(
            "say which dead letters: by name (partition:offset), or by --reason, --asset or"
            " --since, or --all"
        )
    choice = Choice(reason, asset, parse_since(since, now())) if by_choice else None
    changes = any(part is not None for part in (value, key, content_type))
    if changes and len(places) != 1:
        raise SettingsError("--value, --key and --content-type mend one letter: name it")
    mend = Mend(read_value(value), key, content_type)
    done = _retry(settings_of_running_system(), places, choice, mend, dry_run=dry_run)
    _print(done, as_json=as_json)


def _retry(
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
            record = held(message) if is_given else whole(settings, letter, message)
        except DataError:
            if done is None:
                raise
            done.passed_over[_NOT_WHOLE] = done.passed_over.get(_NOT_WHOLE, 0) + 1
            continue
        yield letter, record


def read_value(where: str | None) -> bytes | None:
    """Read a mended value from a file or from standard input.

    Raises:
        DataError: The file cannot be read.
    """
    if where is None:
        return None
    try:
        return sys.stdin.buffer.read() if where == STDIN else Path(where).read_bytes()
    except OSError as error:
        raise DataError(f"{where} cannot be read: {error.strerror}") from error


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


def _print(done: Retry, *, as_json: bool) -> None:
    if as_json:
        print_json(done)
        return
    said = "would be sent again" if done.dry_run else "sent again, and confirmed by Kafka"
    columns = ("ref", "reason", "asset", "refused first as", "bytes", "mended", "now", "remark")
    rows = [
        (
            line.ref,
            visible(line.reason, 40),
            visible(line.asset, 40),
            place_text(Origin(line.topic, line.partition, line.first_offset)),
            line.bytes,
            line.mended,
            None if line.offset is None else f"{line.partition}:{line.offset}",
            line.remark,
        )
        for line in done.sent[:_MOST_LINES]
    ]
    answers.print(table(f"{len(done.sent)} {said}", columns, rows))
    if len(done.sent) > _MOST_LINES:
        answers.print(f"… and {len(done.sent) - _MOST_LINES} more (--json shows all)")
    for why, count in sorted(done.passed_over.items()):
        answers.print(f"{count} passed over: {visible(why)}", highlight=False)
