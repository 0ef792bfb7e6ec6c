"""`python -m millrace.stream_processors`: settings → app → run until told to stop."""

from __future__ import annotations

import gc
import signal
import sys
import threading
from typing import Final

import faust

from millrace.contracts.errors import MillraceError
from millrace.contracts.topics import (
    MODEL_EVENTS,
    NORMALIZED,
    PREDICTIONS,
    SENSOR_WINDOWS,
    SERVING_LEDGER,
)
from millrace.infra.process import fault_points
from millrace.infra.process.error_line import say_error
from millrace.infra.process.logs import configure_logs
from millrace.infra.process.servers import await_kafka, await_member_name, await_partitions
from millrace.infra.process.telemetry import Health, serve_telemetry
from millrace.infra.settings import Settings
from millrace.stream_processors.app import build_app, read_topics

#: Objects made before the garbage collector looks at the young ones. A batch makes thousands
#: that are freed without it; by default it would look at all of memory several times a batch.
YOUNG_OBJECTS: Final = 1_000_000


def main() -> int:
    """Run the stream processor.

    Returns:
        Exit status.
    """
    try:
        settings = Settings.read()
        fault_points.arm(settings.fault, settings.fault_marks)
    except MillraceError as error:
        say_error("stream-processor", error)
        return 2
    configure_logs(settings)
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    health = Health(waiting_for={"kafka"})
    serve_telemetry(settings, health)
    needed = (SENSOR_WINDOWS, PREDICTIONS, NORMALIZED, MODEL_EVENTS, SERVING_LEDGER)
    if not await_kafka(settings, needed, stop):
        return 0
    health.waiting_for.add("equal partitions")
    health.waiting_for.discard("kafka")
    partitions = await_partitions(settings, stop)
    if partitions is None:
        return 0
    member = await_member_name(settings, "stream-processor", read_topics(settings), stop)
    if member is None:
        return 0
    health.waiting_for.discard("equal partitions")
    app = build_app(settings, health, partitions, member)
    gc.freeze()  # what is there now stays
    gc.set_threshold(YOUNG_OBJECTS)
    worker = faust.Worker(
        app, loglevel="WARNING", redirect_stdouts=False, override_logging=False, quiet=True
    )
    return worker.execute_from_commandline()


if __name__ == "__main__":
    sys.exit(main())
