"""Logs: one line per event, for people or as JSON; secrets never enter them."""

from __future__ import annotations

import io
import logging
import sys
from typing import Final, TextIO

import structlog

from millrace.contracts.wire.visible import visible
from millrace.infra.settings import Settings

#: How often a library may say the same again, seconds.
_SELDOM_SECONDS: Final = 30.0


class _Seldom(logging.Filter):
    """Lets a library say the same from the same place only once in a while.

    aiokafka reports each of its tries, a hundred a second, for as long as a broker is away.
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
    """Texts of a record for people, of which some are quoted from others' records."""
    return {
        name: visible(value) if isinstance(value, str) else value for name, value in event.items()
    }


def _traceback(sio: TextIO, exc_info: structlog.typing.ExcInfo) -> None:
    """A traceback for people, whose last line may quote a record, too."""
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
    # Tracebacks without local variables: those would show passwords.
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
    # Libraries that build a record per message: silenced at the logger, where it costs nothing.
    for name in ("aiokafka", "faust", "mode", "urllib3", "asyncio"):
        logging.getLogger(name).setLevel(max(level, logging.WARNING))
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.make_filtering_bound_logger(level),
        cache_logger_on_first_use=True,
    )
