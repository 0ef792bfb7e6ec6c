"""`python -m millrace.inference`: settings → loader and consumer → run until told to stop."""

from __future__ import annotations

import gc
import os
import sys
import threading
from typing import Final

import structlog

from millrace.contracts.errors import ServerError
from millrace.contracts.wire.groups import INFERENCE
from millrace.inference.consumer import InferenceConsumer, replica_name
from millrace.inference.serving.loader import Loader
from millrace.inference.serving.networks import Networks
from millrace.inference.serving.servables import Servables
from millrace.infra.kafka.clients import admin
from millrace.infra.kafka.retry import RetryPolicy
from millrace.infra.object_store import ObjectStore
from millrace.infra.process.partition_watch import PartitionWatch
from millrace.infra.process.service import Service, run_service
from millrace.infra.process.telemetry import Health
from millrace.infra.process.watchdog import Watchdog
from millrace.infra.topics.partitions import even_partitions

_log = structlog.get_logger(__name__)
#: How long the broker is asked at start before we look whether to stop, seconds.
ASK_SECONDS: Final = 3.0
#: How long a thread may keep the interpreter to itself, seconds.
SWITCH_SECONDS: Final = 0.0005
#: New objects after which the collector looks for cycles. A micro-batch has tens of thousands of
#: them and no cycle: by default (700) looking takes a tenth of the time.
GARBAGE: Final = 200_000
#: How long the process may take to end when it is told to, seconds. What it leaves open then,
#: the broker aborts, or its next life.
END_SECONDS: Final = 7.0
#: How long the loader may take to notice that it is to stop, seconds.
JOIN_SECONDS: Final = 3.0


def main() -> int:
    """Run one inference replica; returns its exit status."""
    return run_service(
        "inference",
        _work,
        waiting_for={"broker", "versions", "group"},
        end_seconds=END_SECONDS,
    )


def _work(service: Service) -> None:
    settings, stop, health = service.settings, service.stop, service.health
    patience = RetryPolicy(stop)
    health.alive = lambda: "the consumer makes no progress" if patience.silent else None
    servables = Servables(stop)
    store, networks = ObjectStore(settings), Networks()
    patience.call(lambda: admin(settings).list_topics(timeout=ASK_SECONDS), "the broker")
    loader = patience.call(
        lambda: Loader(settings, replica_name(settings), store, networks, servables), "the registry"
    )
    health.waiting_for.add("equal partitions")
    health.waiting_for.discard("broker")
    partitions = patience.call(
        lambda: even_partitions(admin(settings), settings, ASK_SECONDS),
        "topics with equal partitions",
    )
    health.waiting_for.discard("equal partitions")
    patience.call(loader.step, "the registry to be told")
    thread = threading.Thread(target=loader.run, args=(stop,), name="loader", daemon=True)
    thread.start()
    consumer = InferenceConsumer(settings, servables, loader, patience)
    # What TensorFlow has built never goes away: the collector need not look through it again.
    gc.collect()
    gc.freeze()
    gc.set_threshold(GARBAGE)
    # A network that has run wants the interpreter back soon: the default makes it wait 5 ms.
    sys.setswitchinterval(SWITCH_SECONDS)
    watchdog = Watchdog(settings, INFERENCE, owned=consumer.places)
    watchdog.start()
    partition_watch = PartitionWatch(settings, INFERENCE, partitions)
    partition_watch.start()
    try:
        while not stop.is_set():
            if not thread.is_alive():
                raise ServerError("the loader has died")
            consumer.run_once()
            if health.waiting_for:
                _tell(health, loader, consumer)
    finally:
        watchdog.stop()
        partition_watch.stop()
        stop.set()  # whatever has gone wrong: nobody waits for a broker any more
        all_over = consumer.close()
        thread.join(JOIN_SECONDS)
    # In the middle of a network's compilation, or in a commit without an end, which cannot be told.
    if thread.is_alive() or not all_over:
        _log.info("ends while something goes on", loading=thread.is_alive())
        os._exit(0)


def _tell(health: Health, loader: Loader, consumer: InferenceConsumer) -> None:
    """Take from what the process waits for what has come."""
    if not loader.loading:
        health.waiting_for.discard("versions")
    if consumer.joined:
        health.waiting_for.discard("group")


if __name__ == "__main__":
    sys.exit(main())
