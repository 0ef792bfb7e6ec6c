"""Dead letters in the console: content and state of each.

    open ──retried──► accepted by the stream processor ──► mended
      ▲           └► refused again: a new letter, with the same origin
      └────────────────────────────────────────────────┘   (this one: sent again)
    final: refused by inference; the window cannot be corrected (see `why_final`).

A letter is named by its place in `dead.letters`, ``partition:offset``.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from enum import Enum
from sys import intern
from typing import NamedTuple

import msgspec

from millrace.contracts.clock import event_time
from millrace.contracts.errors import SettingsError
from millrace.contracts.events import dead_letter
from millrace.contracts.events.dead_letter import Origin, first_origin
from millrace.contracts.headers import SOURCE_OFFSET, RawHeaders, header
from millrace.contracts.topics import SENSOR_WINDOWS
from millrace.contracts.wire.cut_letter import cut_of

#: Offset of the accepted retry, by origin.
MendedPlaces = Mapping[Origin, int]


class State(Enum):
    """State of a letter.

    Attributes:
        OPEN: Its record has not been retried, or the result of the retry has not arrived.
        SENT_AGAIN: Its record was retried and refused again: there is a later letter.
        MENDED: A retry with its origin was accepted.
        FINAL: It cannot be retried.
    """

    OPEN = "open"
    SENT_AGAIN = "sent again"
    MENDED = "mended"
    FINAL = "final"


class Reference(NamedTuple):
    """A letter's place in `dead.letters`."""

    partition: int
    offset: int

    def __str__(self) -> str:
        """Text form, as in commands."""
        return f"{self.partition}:{self.offset}"


def parse_reference(text: str) -> Reference:
    """Read ``partition:offset``.

    Raises:
        SettingsError: It is not of that form.
    """
    partition, _, offset = text.partition(":")
    if not all(part.isascii() and part.isdecimal() for part in (partition, offset)):
        raise SettingsError(
            f"{text!r} is no dead letter: give partition:offset, as `millrace dead-letters list`"
            " shows it"
        )
    return Reference(int(partition), int(offset))


class Letter(msgspec.Struct, frozen=True, gc=False):
    """A dead letter without its bytes.

    Attributes:
        place: Where it is.
        time: When it was refused.
        reason: Reason code.
        detail: The reason in a sentence.
        asset: Its key, as text.
        source: The record that was refused.
        first_origin: The original record of the retries.
        is_window: Whether the stream processor refused it, so that it can be retried.
        size: Bytes of the refused record's value; a truncated letter holds only its first part.
    """

    place: Reference
    time: datetime
    reason: str
    detail: str
    asset: str
    source: Origin
    first_origin: Origin
    is_window: bool
    size: int


def letter_of(
    place: Reference, timestamp_ms: int, key: bytes | None, headers: RawHeaders, size: int
) -> Letter:
    """Decode a record of `dead.letters`; one from another program has no origin, and is final.

    Args:
        place: Where it is.
        timestamp_ms: Its Kafka timestamp.
        key: Its key.
        headers: Its headers.
        size: Bytes of its value.
    """
    cut = cut_of(headers)
    is_batch = header(headers, dead_letter.BATCH_RECORDS) is not None
    source = Origin(
        header(headers, dead_letter.TOPIC) or "",
        _number(header(headers, dead_letter.PARTITION)),
        _number(header(headers, dead_letter.OFFSET)),
    )
    # Only the stream processor writes the source offset.
    says_through = header(headers, SOURCE_OFFSET) == str(source.offset)
    return Letter(
        place,
        event_time(max(timestamp_ms, 0)),
        # Most of a million letters have equal texts: store each text once.
        intern(header(headers, dead_letter.REASON) or "unknown"),
        intern(header(headers, dead_letter.DETAIL) or ""),
        intern((key or b"").decode(errors="replace")),
        source,
        first_origin(headers, source),
        source.topic == SENSOR_WINDOWS.name
        and source.offset >= 0
        and says_through
        and not is_batch,
        size if cut is None else cut.size,
    )


def why_final(letter: Letter) -> str | None:
    """Reason why a letter cannot be retried; None if it can."""
    if letter.is_window:
        return None
    if letter.reason == "oversized_output":
        return (
            f"it is an event of {letter.source.topic} that was too large for its topic, and no"
            " record that somebody sent"
        )
    if letter.reason in {"oversized_batch", "undecodable_batch"}:
        return (
            "its value is a whole batch of records, as it was fetched: have its sender send them"
            " again in smaller batches"
        )
    if letter.source.topic == SENSOR_WINDOWS.name:
        return (
            "its window was taken, and has had its effect on the detectors; the version made no"
            " finite forecast of it, so there is nothing to mend in the record"
        )
    if letter.source.topic:
        return (
            f"it comes from {letter.source.topic}, which only the stream processor writes to:"
            " inference answers in the order of sensor.windows, and passes over what comes late"
        )
    return "it does not say where it came from: it is none of Millrace's"


def states(letters: Iterable[Letter], mended: MendedPlaces) -> dict[Reference, State]:
    """Derive the state of each letter.

    Args:
        letters: All letters from some time on.
        mended: The accepted retries.
    """
    known = list(letters)
    latest: dict[Origin, int] = {}
    for letter in known:
        if letter.is_window:
            seen = latest.get(letter.first_origin, -1)
            latest[letter.first_origin] = max(seen, letter.source.offset)

    def state(letter: Letter) -> State:
        if not letter.is_window:
            return State.FINAL
        if letter.first_origin in mended:
            return State.MENDED
        is_last = latest[letter.first_origin] == letter.source.offset
        return State.OPEN if is_last else State.SENT_AGAIN

    return {letter.place: state(letter) for letter in known}


class Choice(msgspec.Struct, frozen=True):
    """Selection of letters.

    Attributes:
        reason: Only letters with this reason.
        asset: Only letters of this asset.
        since: Only letters since this time.
    """

    reason: str | None = None
    asset: str | None = None
    since: datetime | None = None

    def includes(self, letter: Letter) -> bool:
        """Whether a letter is selected."""
        return (
            self.reason in (None, letter.reason)
            and self.asset in (None, letter.asset)
            and (self.since is None or letter.time >= self.since)
        )


class ReasonCount(msgspec.Struct, frozen=True):
    """Number of letters with a reason.

    Attributes:
        reason: The reason.
        letters: All of them.
        retried: Those whose record was retried: accepted, or refused again.
        mended: Those with an accepted retry.
        final: Those that cannot be retried.
    """

    reason: str
    letters: int
    retried: int
    mended: int
    final: int


def counts(letters: Sequence[Letter], known: Mapping[Reference, State]) -> list[ReasonCount]:
    """Count letters by reason, the most frequent first."""
    found = Counter((letter.reason, known[letter.place]) for letter in letters)
    totals = Counter(letter.reason for letter in letters)
    return [
        ReasonCount(
            reason,
            total,
            found[reason, State.SENT_AGAIN] + found[reason, State.MENDED],
            found[reason, State.MENDED],
            found[reason, State.FINAL],
        )
        for reason, total in sorted(totals.items(), key=lambda pair: (-pair[1], pair[0]))
    ]


def _number(text: str | None) -> int:
    return int(text) if text is not None and text.isascii() and text.isdecimal() else -1
