"""Chooses which objects of a partition to merge: a pure decision.

Objects are merged in levels, as in a log-structured merge tree: `most` neighbours of one level
become one object of the next. Each record is rewritten once per level, and a partition has at
most that many objects of each level, however old it is, until objects reach their largest size,
after which their number grows with the bytes archived.

A merged object never spans two dates. Once an object of a later date follows, a date is complete:
what it has is merged whatever the levels, so that a topic with few records a day has one object for
each of these days.

>>> small = [Entry(n, n, 100) for n in range(5)]
>>> [[one.first for one in group] for group in plan(small, most=2, most_bytes=1000)]
[[0, 1], [2, 3]]
>>> from datetime import date
>>> later = Entry(5, 5, 100, date=date(2026, 12, 1))
>>> [[one.first for one in group] for group in plan([*small, later], most=9, most_bytes=1000)]
[[0, 1, 2, 3, 4]]
"""

from collections.abc import Iterator, Sequence
from itertools import groupby

from millrace.infra.archive.index import UNREADABLE, Entry


def plan(entries: Sequence[Entry], *, most: int, most_bytes: int) -> list[list[Entry]]:
    """Choose groups of neighbours that become one object each.

    A group is complete when it has `most` objects, or when the next one would make it larger
    than `most_bytes`; the last group of a complete date is complete in any case. In the last date,
    objects of different levels are not merged, and a group of unmerged objects is also complete
    when an object of another level follows, since it cannot grow any more. A complete group of one
    unmerged object is only raised by a level; one of a merged object stays as it is. Incomplete
    groups are left until there are more objects.

    Args:
        entries: A partition's objects, by offset.
        most: Objects that become one, at least 2.
        most_bytes: Largest merged object.
    """
    groups: list[list[Entry]] = []
    for run, is_closed in _runs(entries):
        group: list[Entry] = []
        size = 0
        for one in run:
            if group and size + one.bytes > most_bytes:
                groups.append(group)
                group, size = [], 0
            group.append(one)
            size += one.bytes
            if len(group) == most:
                groups.append(group)
                group, size = [], 0
        if group and is_closed:
            groups.append(group)
    return [group for group in groups if len(group) > 1 or group[0].level == 0]


def replaced(
    entries: Sequence[Entry], merged: Sequence[tuple[Sequence[Entry], Entry]]
) -> list[Entry]:
    """Replace groups of objects by the objects that they were merged into.

    Args:
        entries: A partition's objects, by offset.
        merged: Groups of neighbours among them, each with its merged object.
    """
    gone = {one for group, _ in merged for one in group}
    left = [one for one in entries if one not in gone]
    return sorted([*left, *(one for _, one in merged)], key=lambda entry: entry.first)


def _runs(entries: Sequence[Entry]) -> Iterator[tuple[list[Entry], bool]]:
    """Cut objects into runs that may be merged with each other.

    Yields:
        Each run, and whether its last group is complete.
    """
    dates = [list(found) for _, found in groupby(entries, key=lambda entry: entry.date)]
    for found in dates[:-1]:
        for is_damaged, group in groupby(found, key=lambda entry: entry.level == UNREADABLE):
            if not is_damaged:
                yield list(group), True
    for found in dates[-1:]:
        runs = [list(run) for _, run in groupby(found, key=lambda entry: entry.level)]
        for number, run in enumerate(runs, 1):
            if run[0].level != UNREADABLE:
                yield run, run[0].level == 0 and number < len(runs)
