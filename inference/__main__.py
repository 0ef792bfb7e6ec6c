"""`python -m millrace.inference`: settings → loader and consumer → run until a stop signal."""

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
#: Longest request to the broker during startup between two checks of the stop signal, seconds.
ASK_SECONDS: Final = 3.0
#: Switch interval of the GIL: how long a thread may hold it, seconds.
SWITCH_SECONDS: Final = 0.0005
#: Allocations between two runs of the garbage collector. A micro-batch allocates tens of thousands
#: of objects without cycles: with the default (700), collecting takes a tenth of the time.
GARBAGE: Final = 200_000
#: Time limit of a shutdown, seconds. A transaction that is still open then is aborted by the broker
#: or by the restarted process.
END_SECONDS: Final = 7.0
#: How long the loader may take to react to the stop signal, seconds.
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
    # TensorFlow's objects live as long as the process: exclude them from garbage collection.
    gc.collect()
    gc.freeze()
    gc.set_threshold(GARBAGE)
    # The network's thread needs the GIL soon after each run: by default it may wait 5 ms.
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
        stop.set()  # after any error: ends all waiting for a broker
        all_over = consumer.close()
        thread.join(JOIN_SECONDS)
    # A thread in a network's compilation, or in a commit that never returns, cannot be stopped.
    if thread.is_alive() or not all_over:
        _log.info("ends while something goes on", loading=thread.is_alive())
        os._exit(0)


def _tell(health: Health, loader: Loader, consumer: InferenceConsumer) -> None:
    """Update the health endpoint: remove the startup conditions that are met."""
    if not loader.loading:
        health.waiting_for.discard("versions")
    if consumer.joined:
        health.waiting_for.discard("group")


if __name__ == "__main__":
    sys.exit(main())
