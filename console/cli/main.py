"""Runs the command line: signals, and errors as one line and an exit status.

An error that a person can mend is one line and exit status 2; Ctrl-C ends with 130, after
everything that was started has been stopped.
"""

# ruff: noqa: PLC0415  (imports inside functions make --help quick)

from __future__ import annotations

import signal
import sys
from types import FrameType

import structlog

from millrace.console.cli.commands import app
from millrace.contracts.errors import MillraceError
from millrace.infra.process.error_line import say_error
from millrace.infra.process.exit_status import INTERRUPTED, NOT_DONE


def main() -> int:
    """Run the command line.

    Returns:
        Exit status, unless typer exits by itself.
    """
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _end)
    # Only answers go to standard output; what the parts of a command log goes beside them.
    structlog.configure(logger_factory=structlog.PrintLoggerFactory(sys.stderr))
    try:
        app()
    except MillraceError as error:
        say_error("millrace", error)
        return NOT_DONE
    except ModuleNotFoundError as error:
        from millrace.console.cli.missing_modules import explain

        explanation = explain(error)
        if explanation is None:
            raise
        say_error("millrace", explanation)
        return NOT_DONE
    except KeyboardInterrupt:
        return INTERRUPTED
    except Exception as error:
        said = _kafka_trouble(error)
        if said is None:
            raise
        say_error("millrace", said)
        return NOT_DONE
    return 0


def _kafka_trouble(error: Exception) -> str | None:
    """Say in one line what a Kafka client could not go on with; None of any other error."""
    from confluent_kafka import KafkaException

    from millrace.infra.kafka.errors import error_of
    from millrace.infra.kafka.refusals import Told, kafka_trouble
    from millrace.infra.local.address import settings_of_running_system
    from millrace.infra.settings import Settings

    if not isinstance(error, KafkaException):
        return None
    cause = error_of(error)
    try:
        settings = settings_of_running_system(must_answer=False)
    except MillraceError:  # it ended meanwhile
        settings = Settings.read()
    return kafka_trouble([Told(cause.name(), cause.str())], settings)


def _end(number: int, frame: FrameType | None) -> None:  # noqa: ARG001  (signal's interface)
    """End in order, as after Ctrl-C, when somebody else asks for it."""
    raise SystemExit(128 + number)
