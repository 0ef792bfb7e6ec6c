"""Chooses which objects are older than the archive's retention: a pure decision.

Whole objects are removed, from the beginning of a partition on, as their dates become too old. An
object without a date, which an earlier build wrote, lies before all that have one; it is removed
together with the first of those. A partition's newest object always stays: it names the position
at which the archiver continues.

>>> day = dt.date(2026, 11, 1)
>>> entries = [Entry(0, 9, 1), Entry(10, 19, 1, date=day), Entry(20, 29, 1, date=day)]
>>> [one.first for one in too_old(entries, dt.date(2026, 12, 1), 30)]
[]
>>> [one.first for one in too_old(entries, dt.date(2026, 12, 2), 30)]
[0, 10]
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence

from millrace.infra.archive.index import Entry


def too_old(entries: Sequence[Entry], today: dt.date, days: int) -> Sequence[Entry]:
    """Select the objects that are too old.

    Args:
        entries: A partition's objects, by offset.
        today: The archiver's date, UTC.
        days: How many days before today are kept.

    Returns:
        The first ones of the entries; none if all are recent enough.
    """
    oldest = today - dt.timedelta(days=days)
    old = [
        number
        for number, one in enumerate(entries[:-1], 1)
        if one.date is not None and one.date < oldest
    ]
    return entries[: max(old, default=0)]
