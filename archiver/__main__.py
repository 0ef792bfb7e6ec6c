"""Topics go in, Parquet objects in the object store come out: what training and replay read.

```
python -m millrace.archiver
```

Guarantee: every record that can be read is in exactly one object, under its position
(`topic_epoch`), so also every record of a topic that was created anew or lost its end.
Objects are written whole, one partition's in order; where the next one begins is read from the
store itself after every assignment, never from committed offsets (those only show the lag). So a
crash at any point repeats nothing and leaves no gap and no overlap: a buffered record that was
not stored is consumed again, a stored one is not. Records that are still buffered when a
partition is taken away are forgotten for the same reason. A static group membership fences an
archiver that hangs and comes back after it was replaced; the one object that it might then still
be writing is the only possible overlap, and readers take a record once. What cannot be read or
stored is passed over, counted, named in the log, and noted in the store (`gaps`); a record
that its log lost before it was stored is not archived.

A thread beside this one merges the objects (`archiver.merger`), so that neither a start nor a
reader takes longer the older the archive is.
"""

from __future__ import annotations

import signal
import sys
import threading
import time
from typing import Final

from confluent_kafka import KafkaException

from millrace.archiver.archiving import ARCHIVED, Archiver
from millrace.archiver.merger import Merger
from millrace.archiver.settings import ArchiverSettings
from millrace.contracts.errors import MillraceError
from millrace.contracts.topics import TOPIC_EPOCHS, TRAINING_RUNS
from millrace.contracts.wire.groups import ARCHIVER
from millrace.infra.object_store import ObjectStore
from millrace.infra.process import fault_points
from millrace.infra.process.error_line import say_error
from millrace.infra.process.logs import configure_logs
from millrace.infra.process.partition_watch import PartitionWatch
from millrace.infra.process.servers import await_kafka, await_partitions, await_store
from millrace.infra.process.telemetry import Health, serve_telemetry
from millrace.infra.process.watchdog import Watchdog
from millrace.infra.settings import Settings

_STALL_SECONDS: Final = 60.0


def main() -> int:
    """Archive until told to stop."""
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    try:
        settings = Settings.read()
        limits = ArchiverSettings.read()
        configure_logs(settings)
        fault_points.arm(settings.fault, settings.fault_marks)
        last_step = time.monotonic()

        def alive() -> str | None:
            silent = time.monotonic() - last_step
            waits = "servers" in health.waiting_for
            late = silent > _STALL_SECONDS and not waits
            return f"no progress for {silent:.0f} s" if late else None

        health = Health(alive, {"servers", "assignment"})
        serve_telemetry(settings, health)
        there = await_kafka(settings, [*ARCHIVED, TRAINING_RUNS, TOPIC_EPOCHS], stop)
        partitions = await_partitions(settings, stop) if there else None
        if partitions is None or not await_store(settings, stop):
            return 0
        last_step = time.monotonic()
        health.waiting_for.discard("servers")
        archiver = Archiver(settings, limits, ObjectStore(settings))
        watchdog = Watchdog(
            settings,
            ARCHIVER,
            archiver.places,
            stall_seconds=limits.max_seconds + limits.stall_seconds,
        )
        watchdog.start()
        partition_watch = PartitionWatch(settings, ARCHIVER, partitions)
        partition_watch.start()
        merger = Merger(ObjectStore(settings), limits, archiver.owned)
        merger.start()
        while not stop.is_set():
            archiver.step(time.monotonic())
            last_step = time.monotonic()
            merger.check()
            if archiver.owned():
                health.waiting_for.discard("assignment")
        watchdog.stop()
        partition_watch.stop()
        merger.stop()
        archiver.close()
    except MillraceError as error:
        say_error("archiver", error)
        return 1
    except KafkaException as error:
        say_error("archiver: Kafka", error)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
