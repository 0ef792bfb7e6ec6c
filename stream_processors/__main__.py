"""`python -m millrace.stream_processors`: settings → app → run until a stop signal."""

from __future__ import annotations

import gc
import sys
from typing import Final

import faust

from millrace.contracts.topics import (
    MODEL_EVENTS,
    NORMALIZED,
    PREDICTIONS,
    SENSOR_WINDOWS,
    SERVING_LEDGER,
)
from millrace.drift.selection import Detectors, detectors
from millrace.infra.process.servers import await_kafka, await_member_name, await_partitions
from millrace.infra.process.service import Service, run_service
from millrace.infra.settings import Settings
from millrace.stream_processors.transport.pinned import require_aiokafka

#: Allocations between two collections of the garbage collector's youngest generation. A batch
#: allocates thousands of objects, which reference counting frees; with the default threshold, all
#: of memory would be scanned several times per batch.
YOUNG_OBJECTS: Final = 1_000_000
NEEDED: Final = (SENSOR_WINDOWS, PREDICTIONS, NORMALIZED, MODEL_EVENTS, SERVING_LEDGER)


def main() -> int:
    """Run the stream processor; returns its exit status."""
    return run_service("stream-processor", _work, waiting_for={"kafka"})


def _work(service: Service) -> int:
    require_aiokafka()
    from millrace.stream_processors.app import build_app, read_topics  # noqa: PLC0415  (not before)

    settings, stop, waiting_for = service.settings, service.stop, service.health.waiting_for
    chosen = _detectors(settings) if settings.monitoring else None
    await_kafka(settings, NEEDED, stop)
    waiting_for.add("equal partitions")
    waiting_for.discard("kafka")
    partitions = await_partitions(settings, stop)
    member = await_member_name(settings, "stream-processor", read_topics(settings), stop)
    waiting_for.discard("equal partitions")
    app = build_app(settings, service.health, partitions, member, chosen)
    gc.freeze()  # the modules and the app live as long as the process
    gc.set_threshold(YOUNG_OBJECTS)
    worker = faust.Worker(
        app, loglevel="WARNING", redirect_stdouts=False, override_logging=False, quiet=True
    )
    return worker.execute_from_commandline()


def _detectors(settings: Settings) -> Detectors:
    return detectors(
        inputs=settings.input_detectors,
        error=settings.error_detectors,
        skill=settings.skill_detectors,
    )


if __name__ == "__main__":
    sys.exit(main())
