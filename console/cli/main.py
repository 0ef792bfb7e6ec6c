"""Runs the command line: handles signals, reports errors in one line and an exit status.

An error that a user can fix gives one line and exit status 2; Ctrl-C gives 130, after all started
processes were stopped.
"""

# ruff: noqa: PLC0415  (imports inside functions make --help quick)

from __future__ import annotations

import logging
import os
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
        Exit status, unless typer exits itself.
    """
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _end)
    # Only results go to standard output; warnings go to standard error.
    structlog.configure(
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING),
    )
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")  # TensorFlow's messages help nobody here
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
    """Describe a permanent Kafka client error in one line; None for any other error."""
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
    except MillraceError:  # the system ended meanwhile
        settings = Settings.read()
    return kafka_trouble([Told(cause.name(), cause.str())], settings)


def _end(number: int, frame: FrameType | None) -> None:  # noqa: ARG001  (signal's interface)
    """Shut down as after Ctrl-C, on a signal from another process."""
    raise SystemExit(128 + number)
