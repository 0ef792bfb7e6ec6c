"""Objects of a partition go in, what to merge comes out: a pure decision.

Objects are merged in levels, as in a log-structured merge tree: so many neighbours of one
level become one object of the next. Each record is rewritten once a level, and a partition
has at most so many objects of each level, however old it is, until objects reach their
largest size, after which their number grows with the bytes archived.

>>> small = [Entry(n, n, 100) for n in range(5)]
>>> [[one.first for one in group] for group in plan(small, most=2, most_bytes=1000)]
[[0, 1], [2, 3]]
"""

from collections.abc import Sequence
from itertools import groupby

from millrace.infra.archive.index import UNREADABLE, Entry


def plan(entries: Sequence[Entry], *, most: int, most_bytes: int) -> list[list[Entry]]:
    """Choose groups of neighbours that become one object each.

    A group is complete when it has `most` objects, or when the next one would make it larger
    than `most_bytes`, or, of objects as they were archived, when one of another level follows,
    since then no more will come. A complete group of one object, as it was archived, is only
    raised by a level; one that was merged stays as it is. Groups that are not complete wait for
    more objects.

    Args:
        entries: A partition's objects, by offset.
        most: Objects that become one, at least 2.
        most_bytes: Largest merged object.
    """
    groups: list[list[Entry]] = []
    runs = [list(run) for _, run in groupby(entries, key=lambda entry: entry.level)]
    for number, run in enumerate(runs, 1):
        if run[0].level == UNREADABLE:
            continue
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
        if group and run[0].level == 0 and number < len(runs):
            groups.append(group)
    return [group for group in groups if len(group) > 1 or group[0].level == 0]


def replaced(
    entries: Sequence[Entry], merged: Sequence[tuple[Sequence[Entry], Entry]]
) -> list[Entry]:
    """Put merged objects in the place of those that they were made of.

    Args:
        entries: A partition's objects, by offset.
        merged: Groups of neighbours among them, and what became of each.
    """
    gone = {one for group, _ in merged for one in group}
    left = [one for one in entries if one not in gone]
    return sorted([*left, *(one for _, one in merged)], key=lambda entry: entry.first)
