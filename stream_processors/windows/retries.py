"""Retries of dead letters: at most one retry per origin is accepted.

    a batch ─► which rows are retries ─► origin resolved by another record already? ignore
                                     ├─► no dead letter of that origin? refuse
                                     └─► else accept, write a resolution to dead.letters.mended

The resolutions are the persistent state, as the other outputs are (decision 2): they are read when
a partition's first retry arrives, and confirmed before its batch is acknowledged. A resolution
names the accepted record, so a batch that is processed again after a crash accepts the same one;
its outputs that are already written are recognised like those of any other record.

The state is per partition, not per asset: corrected bytes may name another asset or be read by
another model, and the origin is still resolved only once.

>>> retries = Retries()
>>> retries.take(417, 9001)
>>> retries.taker(417), retries.taker(418)
(9001, None)
"""

from __future__ import annotations

from array import array
from bisect import bisect_left
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Final

from millrace.contracts.events.dead_letter import (
    BAD_ORIGIN,
    ORIGIN_PREFIX,
    names_an_origin,
    never_refused,
    origin_of,
)
from millrace.contracts.events.mended import Resolution
from millrace.contracts.invalid_record import InvalidRecord
from millrace.contracts.moment import Moment
from millrace.contracts.topics import SENSOR_WINDOWS
from millrace.stream_processors.transport.records import Record
from millrace.stream_processors.windows.first_origins import FirstOrigins

#: Limit of origins stored per partition, 16 bytes each. Beyond it retries are refused; origins are
#: never dropped.
MOST_TAKEN: Final = 1 << 20
_ORIGIN_PREFIX: Final = ORIGIN_PREFIX.encode()


class Retries:
    """Which origins of a partition are resolved, and by which record."""

    def __init__(self, taken: Iterable[Resolution] = (), *, most: int = MOST_TAKEN) -> None:
        """Start with the resolutions that are written already.

        Args:
            taken: Resolutions of the partition, oldest first; of one origin, the first counts.
            most: Limit of stored origins.
        """
        noted: dict[int, int] = {}
        for note in taken:
            noted.setdefault(note.first_offset, note.offset)
        self._origins = array("q", sorted(noted))
        self._takers = array("q", (noted[origin] for origin in self._origins))
        self._most = most

    def __len__(self) -> int:
        """Number of resolved origins."""
        return len(self._origins)

    def taker(self, origin: int) -> int | None:
        """Offset of the record that resolved an origin; None if it is open."""
        place = bisect_left(self._origins, origin)
        found = place < len(self._origins) and self._origins[place] == origin
        return self._takers[place] if found else None

    def take(self, origin: int, offset: int) -> None:
        """Resolve an open origin with a record.

        Raises:
            InvalidRecord: The limit of stored origins is reached, so it is not resolved.
        """
        place = bisect_left(self._origins, origin)
        if len(self._origins) >= self._most:
            raise InvalidRecord(
                "too_many_retries",
                f"{self._most} windows of this partition were mended before, and no more can be"
                " remembered; send this one as a new record, without its first origin, if you"
                " are sure that it was never taken",
            )
        self._origins.insert(place, origin)
        self._takers.insert(place, offset)

    def give_back(self, origin: int) -> None:
        """Reopen a resolved origin."""
        place = bisect_left(self._origins, origin)
        if place < len(self._origins) and self._origins[place] == origin:
            del self._origins[place], self._takers[place]


@dataclass(frozen=True)
class RetryDecisions:
    """Decisions about the retries in a batch.

    Attributes:
        passed: Ignored rows, without output or dead letter: another record was accepted.
        taken: Origin by row, of accepted rows whose resolution is not written yet.
        refused: Why a retry is refused, by row.
    """

    passed: set[int]
    taken: dict[int, int]
    refused: dict[int, InvalidRecord]


#: Decisions about a batch without retries.
NOTHING: Final = RetryDecisions(set(), {}, {})


def sent_again(records: Sequence[Record]) -> list[int]:
    """Rows of a batch that are retries; the usual case, none, is detected in one search."""
    if _ORIGIN_PREFIX not in b"".join([record.packed for record in records]):
        return []
    return [
        row
        for row, record in enumerate(records)
        if names_an_origin(name for name, _ in record.headers)
    ]


def oldest_origin(partition: int, records: Sequence[Record], rows: Iterable[int]) -> int | None:
    """The smallest offset that rows name as their origin; None if none names one.

    Args:
        partition: A partition of `sensor.windows`.
        records: A batch of it.
        rows: Those of `sent_again`.
    """
    named: list[int] = []
    for row in rows:
        record = records[row]
        with suppress(InvalidRecord):  # `resolve` refuses it
            place = origin_of(record.headers, SENSOR_WINDOWS.name, partition, record.offset)
            named.append(place.offset)
    return min(named, default=None)


def resolve(
    partition: int,
    records: Sequence[Record],
    rows: Iterable[int],
    invalid: Iterable[int],
    retries: Retries,
    letters: FirstOrigins,
) -> RetryDecisions:
    """Decide which retries are accepted, in order.

    The decision depends only on the partition's records, resolutions and letters, and a letter
    exists before it can be retried. So a redelivered batch gets the same decisions, however it is
    cut. (The exception is a letter that expires between two deliveries of a batch.)

    Args:
        partition: A partition of `sensor.windows`.
        records: A batch of it.
        rows: Result of `sent_again`, ascending.
        invalid: Rows that are no windows, regardless of their origin: they resolve nothing.
        retries: State of the partition; accepted retries are added.
        letters: The partition's letters, including those of earlier rows, from the oldest origin of
            these rows on; rows with an unusable origin are added.
    """
    bad = set(invalid)
    passed: set[int] = set()
    taken: dict[int, int] = {}
    refused: dict[int, InvalidRecord] = {}
    for row in rows:
        record = records[row]
        try:
            origin = origin_of(record.headers, SENSOR_WINDOWS.name, partition, record.offset)
            taker = retries.taker(origin.offset)
            if taker is None:
                if origin.offset not in letters:
                    raise never_refused(origin)
                if row not in bad:
                    retries.take(origin.offset, record.offset)
                    taken[row] = origin.offset
            elif record.offset > taker or (record.offset < taker and row not in bad):
                passed.add(row)  # invalid ones before the accepted one get their own letter
        except InvalidRecord as problem:
            refused[row] = problem.kept()
            if problem.reason == BAD_ORIGIN:
                letters.add(record.offset)
    return RetryDecisions(passed, taken, refused)


def note_of(partition: int, record: Record, origin: int, at: Moment) -> Resolution:
    """Build the resolution of an origin by a record of a partition."""
    return Resolution(partition, origin, record.offset, at)
