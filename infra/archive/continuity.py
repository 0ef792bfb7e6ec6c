"""Finds gaps and overlaps between the objects of a partition's archive. Pure.

Every object names the position that it follows (`infra.archive.parquet`), so a missing object
leaves a break in the chain, whereas offsets without a record (of a compacted topic, or of
transaction markers) leave none:

>>> def item(first, last):
...     return ArchivedObject("outcomes", 0, first, last)
>>> chain = [Link(item(0, 9), START), Link(item(30, 39), 20)]
>>> find_breaks(chain, ())
[Break(kind='missing', first=10, until=20)]
>>> find_breaks([Link(item(0, 9), START), Link(item(5, 14), 10)], ())
[Break(kind='doubled', first=5, until=10)]
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Literal, NamedTuple

import msgspec

from millrace.infra.archive.gaps import HEADERS, Gap
from millrace.infra.archive.objects import ArchivedObject
from millrace.infra.archive.parquet import START


class Link(NamedTuple):
    """An object, and the position that it follows.

    Attributes:
        item: The object.
        follows: Position after the last record of the object before it; `START` for the first
            object of a partition; None if the object does not say (an earlier build wrote it).
    """

    item: ArchivedObject
    follows: int | None


class Break(msgspec.Struct, frozen=True):
    """Positions at which the archive is not what it should be.

    Attributes:
        kind: ``missing``: an object with them was archived and is not there. ``doubled``: two
            objects have them.
        first: First position.
        until: Position after the last one.
    """

    kind: Literal["missing", "doubled"]
    first: int
    until: int


def find_breaks(links: Sequence[Link], gaps: Iterable[Gap]) -> list[Break]:
    """Find where objects do not follow one another.

    Args:
        links: A partition's objects, by first offset.
        gaps: Its known gaps: what they cover is not missing.

    Returns:
        By position. Objects that do not say what they follow are taken to follow the one before.
    """
    found: list[Break] = []
    end: int | None = None
    for item, follows in links:
        wanted = item.first if follows is None else follows
        if end is not None and item.first < end:
            found.append(Break("doubled", item.first, min(end, item.last + 1)))
        elif follows not in (None, START) and (end or 0) < wanted:
            found.append(Break("missing", end or 0, wanted))
        end = max(end or 0, item.last + 1)
    known = [gap for gap in gaps if gap.why != HEADERS]
    return [one for one in found if one.kind == "doubled" or not _is_covered(one, known)]


def _is_covered(one: Break, gaps: Iterable[Gap]) -> bool:
    """Whether gaps that are noted cover all of a break."""
    position = one.first
    for gap in sorted(gaps, key=lambda gap: gap.first):
        if gap.first <= position < gap.until:
            position = gap.until
    return position >= one.until
