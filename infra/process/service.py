"""Runs a service: the common frame of every service process.

settings ─► logs ─► fault points ─► signals ─► health and metrics ─► work ─► exit status
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import structlog
from confluent_kafka import KafkaException

from millrace.contracts.errors import MillraceError, SettingsError
from millrace.infra.kafka.retry import Stopped
from millrace.infra.process import fault_points
from millrace.infra.process.error_line import say_error
from millrace.infra.process.exit_status import BROKEN, FAILED, STOPPED, WRONG_SETTINGS
from millrace.infra.process.logs import configure_logs
from millrace.infra.process.shutdown_deadline import ShutdownDeadline
from millrace.infra.process.telemetry import Health, serve_telemetry
from millrace.infra.settings import Settings

_log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class Service:
    """Context of a service's work.

    Attributes:
        settings: Settings, read from the environment.
        stop: Set by SIGTERM and SIGINT: the work returns soon after.
        health: Health that the process reports.
    """

    settings: Settings
    stop: threading.Event
    health: Health


def run_service(
    name: str,
    work: Callable[[Service], int | None],
    *,
    waiting_for: Iterable[str],
    end_seconds: float | None = None,
) -> int:
    """Run a service until shutdown.

    Args:
        name: The service, as its errors name it.
        work: Does the work until `Service.stop` is set. It also reads the service's own settings.
        waiting_for: Conditions that are missing until the service is ready; the work removes them.
        end_seconds: Longest shutdown after a signal, before the process is ended; None for no
            limit.

    Returns:
        Exit status, see `infra.process.exit_status`; the one that ``work`` returned, if any.
    """
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    try:
        settings = Settings.read()
        configure_logs(settings)
        fault_points.arm(settings.fault, settings.fault_marks)
        if end_seconds is not None:
            ShutdownDeadline(stop, end_seconds)
        health = Health(waiting_for=set(waiting_for))
        serve_telemetry(settings, health)
        return work(Service(settings, stop, health)) or STOPPED
    except Stopped as what:
        _log.info("stopped while it waited", what=str(what))
        return STOPPED
    except SettingsError as error:
        say_error(name, error)
        return WRONG_SETTINGS
    except MillraceError as error:
        say_error(name, error)
        return FAILED
    except KafkaException as error:
        say_error(f"{name}: Kafka", error)
        return FAILED
    except Exception:  # noqa: BLE001  (of any kind: log it and end, to be restarted)
        _log.exception("the service ends", service=name)
        return BROKEN
