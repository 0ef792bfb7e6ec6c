"""Chooses which objects of a partition to merge: a pure decision.

Objects are merged in levels, as in a log-structured merge tree: `most` neighbours of one level
become one object of the next. Each record is rewritten once per level, and a partition has at
most that many objects of each level, however old it is, until objects reach their largest size,
after which their number grows with the bytes archived.

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
    than `most_bytes`. A group of unmerged objects is also complete when an object of another
    level follows, since it cannot grow any more. A complete group of one unmerged object is only
    raised by a level; one of a merged object stays as it is. Incomplete groups are left until
    there are more objects.

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
    """Replace groups of objects by the objects that they were merged into.

    Args:
        entries: A partition's objects, by offset.
        merged: Groups of neighbours among them, each with its merged object.
    """
    gone = {one for group, _ in merged for one in group}
    left = [one for one in entries if one not in gone]
    return sorted([*left, *(one for _, one in merged)], key=lambda entry: entry.first)
