"""Logs: one line per event, for people or as JSON; secrets never enter them."""

from __future__ import annotations

import io
import logging
import sys
from typing import Final, TextIO

import structlog

from millrace.contracts.wire.visible import visible
from millrace.infra.settings import Settings

#: Shortest interval between equal messages of a library, seconds.
_SELDOM_SECONDS: Final = 30.0


class _Seldom(logging.Filter):
    """Limits the rate at which a library repeats a message from the same place.

    aiokafka logs each of its attempts, a hundred a second, while a broker is unavailable.
    """

    def __init__(self, library: str) -> None:
        super().__init__()
        self._library = library
        self._said: dict[tuple[str, int], float] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        if record.name.partition(".")[0] != self._library:
            return True
        place = record.pathname, record.lineno
        due = record.created - self._said.get(place, 0.0) >= _SELDOM_SECONDS
        if due:
            self._said[place] = record.created
        return due


def _escaped(
    _: structlog.typing.WrappedLogger, __: str, event: structlog.typing.EventDict
) -> structlog.typing.EventDict:
    """Escape the texts of a log record for people; some are quoted from foreign Kafka records."""
    return {
        name: visible(value) if isinstance(value, str) else value for name, value in event.items()
    }


def _traceback(sio: TextIO, exc_info: structlog.typing.ExcInfo) -> None:
    """Print a traceback for people, escaped: its last line may quote a Kafka record, too."""
    plain = io.StringIO()
    structlog.dev.plain_traceback(plain, exc_info)
    sio.write("\n".join(visible(line) for line in plain.getvalue().split("\n")))


def configure_logs(settings: Settings) -> None:
    """Send structlog's and the libraries' records to standard error in one format."""
    level = logging.getLevelNamesMapping()[settings.log_level.upper()]
    shared: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    # Tracebacks without local variables, which could show passwords.
    rendering: list[structlog.typing.Processor] = (
        [structlog.processors.format_exc_info, structlog.processors.JSONRenderer()]
        if settings.log_format == "json"
        else [
            _escaped,
            structlog.dev.ConsoleRenderer(
                colors=sys.stderr.isatty(), exception_formatter=_traceback
            ),
        ]
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.addFilter(_Seldom("aiokafka"))
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *rendering],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level)
    # Libraries that build a log record per message: silenced at the logger, where it is cheapest.
    for name in ("aiokafka", "faust", "mode", "urllib3", "asyncio"):
        logging.getLogger(name).setLevel(max(level, logging.WARNING))
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.make_filtering_bound_logger(level),
        cache_logger_on_first_use=True,
    )
