"""Records that were sent again: at most one of those with the same first origin is taken.

    a batch ─► which rows were sent before ─► taken by another record already? pass over
                                          ├─► no dead letter of that origin? refuse
                                          └─► else take it, and note that in dead.letters.mended

The notes are the memory, as the other outputs are (decision 2): they are read back when a
partition's first such record comes, and confirmed before its batch is acknowledged. A note
names the record that was taken, so a batch that is processed again after a crash takes the
same one again: what is already written of it is recognised as that of any other record.

The memory is per partition, not per asset: mended bytes may name another asset or make
another model read them, and the first origin is still taken once.

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

#: First origins that a partition remembers; 16 bytes each. More are refused, never forgotten.
MOST_TAKEN: Final = 1 << 20
_ORIGIN_PREFIX: Final = ORIGIN_PREFIX.encode()


class Retries:
    """Which first origins of a partition have been taken, and by which record."""

    def __init__(self, taken: Iterable[Resolution] = (), *, most: int = MOST_TAKEN) -> None:
        """Start with what is noted already.

        Args:
            taken: Notes about the partition, oldest first; of one origin, the first counts.
            most: How many origins may be remembered.
        """
        noted: dict[int, int] = {}
        for note in taken:
            noted.setdefault(note.first_offset, note.offset)
        self._origins = array("q", sorted(noted))
        self._takers = array("q", (noted[origin] for origin in self._origins))
        self._most = most

    def __len__(self) -> int:
        """How many first origins have been taken."""
        return len(self._origins)

    def taker(self, origin: int) -> int | None:
        """Offset of the record by which a first origin was taken; None if it is open."""
        place = bisect_left(self._origins, origin)
        found = place < len(self._origins) and self._origins[place] == origin
        return self._takers[place] if found else None

    def take(self, origin: int, offset: int) -> None:
        """Take a first origin, which is open, by a record.

        Raises:
            InvalidRecord: There is no room to remember it, so it is not taken.
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
        """Open a first origin again that was taken."""
        place = bisect_left(self._origins, origin)
        if place < len(self._origins) and self._origins[place] == origin:
            del self._origins[place], self._takers[place]


@dataclass(frozen=True)
class RetryDecisions:
    """What becomes of the records of a batch that were sent before.

    Attributes:
        passed: Rows without any effect, nor a dead letter: another record was taken.
        taken: First origin by row, of those that are taken and not noted yet.
        refused: Why a row cannot be used after all.
    """

    passed: set[int]
    taken: dict[int, int]
    refused: dict[int, InvalidRecord]


#: Of a batch without any such record.
NOTHING: Final = RetryDecisions(set(), {}, {})


def sent_again(records: Sequence[Record]) -> list[int]:
    """Rows of a batch that were sent before; as a rule there are none, and one look tells."""
    if _ORIGIN_PREFIX not in b"".join([record.packed for record in records]):
        return []
    return [
        row
        for row, record in enumerate(records)
        if names_an_origin(name for name, _ in record.headers)
    ]


def oldest_origin(partition: int, records: Sequence[Record], rows: Iterable[int]) -> int | None:
    """The smallest offset that rows name as their first origin; None if none names one.

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
    """Decide which records that were sent before are taken, in their order.

    The decision depends on the partition's records, notes and letters only, and a letter is
    there before anybody can answer it: so a batch that comes again is decided in the same way,
    however it is cut. (A letter that expires between two lives of a batch is the exception.)

    Args:
        partition: A partition of `sensor.windows`.
        records: A batch of it.
        rows: Those of `sent_again`, ascending.
        invalid: Rows that are no windows, whatever their origin: they take nothing.
        retries: Memory of the partition; knows those that are taken afterwards.
        letters: The partition's letters, those of earlier rows included, from the oldest
            origin of these rows on; has those whose origin does not count afterwards.
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
                passed.add(row)  # a bad one before the taker has, or gets, its letter
        except InvalidRecord as problem:
            refused[row] = problem.kept()
            if problem.reason == BAD_ORIGIN:
                letters.add(record.offset)
    return RetryDecisions(passed, taken, refused)


def note_of(partition: int, record: Record, origin: int, at: Moment) -> Resolution:
    """The note that a record of a partition was taken for a first origin."""
    return Resolution(partition, origin, record.offset, at)
