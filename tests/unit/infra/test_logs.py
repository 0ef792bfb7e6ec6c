"""What a library repeats a hundred times a second is told once."""

from __future__ import annotations

import logging

from infra.logs import _SELDOM_SECONDS, _Seldom


def record(name: str, line: int, at: float) -> logging.LogRecord:
    """A record from a place in a library."""
    made = logging.LogRecord(name, logging.ERROR, "client.py", line, "no broker", (), None)
    made.created = at
    return made


def test_the_same_place_speaks_once_in_a_while() -> None:
    """Another place, and another library, are heard at once."""
    seldom = _Seldom("aiokafka")
    told = [
        seldom.filter(record("aiokafka.client", 1, 100.0)),
        seldom.filter(record("aiokafka.client", 1, 100.1)),
        seldom.filter(record("aiokafka.client", 2, 100.2)),
        seldom.filter(record("stream_processors", 1, 100.3)),
        seldom.filter(record("stream_processors", 1, 100.4)),
        seldom.filter(record("aiokafka.client", 1, 100.0 + _SELDOM_SECONDS)),
    ]
    assert told == [True, False, True, True, True, True]
