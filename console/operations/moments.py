"""Parses the times that commands take: a moment, or an age."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import Final

from millrace.contracts.errors import SettingsError

_SPAN: Final = re.compile(r"(\d+)([smhdw])")
_SECONDS: Final = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800}


def parse_moment(option: str, text: str | None, now: datetime) -> datetime | None:
    """Parse a time: ISO 8601 (UTC if it names no zone), or an age such as ``90m``.

    >>> parse_moment("--since", "2h", datetime(2026, 1, 1, 12, tzinfo=UTC)).isoformat()
    '2026-01-01T10:00:00+00:00'

    Args:
        option: The command's option, for the error message.
        text: What was given for it; None if nothing was.
        now: The wall clock.

    Raises:
        SettingsError: The text is neither.
    """
    if text is None:
        return None
    span = _SPAN.fullmatch(text)
    try:
        if span is not None:
            return now - timedelta(seconds=int(span[1]) * _SECONDS[span[2]])
        moment = datetime.fromisoformat(text)
    except (ValueError, OverflowError) as error:
        raise SettingsError(
            f"{option} {text!r}: give a time such as 2026-11-21T06:00, or how long ago: 90s, 30m,"
            " 2h, 7d, 1w"
        ) from error
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)
