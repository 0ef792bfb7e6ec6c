"""What a library repeats a hundred times a second is told once; what a record says, escaped."""

from __future__ import annotations

import logging
import subprocess
import sys

from millrace.infra.process.logs import _SELDOM_SECONDS, _Seldom


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


def test_text_of_others_does_nothing_to_a_terminal() -> None:
    """The event, its values, a library's message, and the error of a traceback."""
    program = """
import logging, structlog
from millrace.infra.process.logs import configure_logs
from millrace.infra.settings import Settings
configure_logs(Settings.read(log_format="text"))
log = structlog.get_logger("here")
log.warning("asset \\x1b[31m\\nfake line", asset="a\\x1b]0;t\\x07", other=["\\x1b"])
logging.getLogger("library").error("quoted %s", "\\x9b31m")
try:
    raise ValueError("bad \\x1b[2J")
except ValueError:
    log.exception("failed")
"""
    done = subprocess.run(
        [sys.executable, "-c", program.replace("\\\\", "\\")],
        capture_output=True,
        check=True,
        timeout=60,
    )
    printed = done.stderr.decode()
    assert all(c.isprintable() for c in printed.replace("\n", ""))
    for shown in (
        r"asset \x1b[31m\nfake line",
        r"a\x1b]0;t\x07",
        r"quoted \x9b31m",
        r"bad \x1b[2J",
    ):
        assert shown in printed
    assert sum("fake line" in line for line in printed.splitlines()) == 1
