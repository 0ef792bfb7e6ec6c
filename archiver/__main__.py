"""Archives the topics of record as Parquet objects in the object store.

```
python -m millrace.archiver
```

Guarantee: every record that can be read is in exactly one object, under its position
(`topic_epoch`), so also every record of a topic that was created anew or lost its end.
Objects are written atomically, in offset order within a partition. After every assignment the
start of the next object is read from the store itself, never from committed offsets (those only
show the lag). So a crash at any point repeats nothing and leaves no gap and no overlap: a buffered
record that was not stored is consumed again, a stored one is not. For the same reason buffered
records are dropped when their partition is revoked. A static group membership fences an archiver
that hangs and resumes after it was replaced; the one object that it might then still be writing
is the only possible overlap, and readers deduplicate records. Records that cannot be read or
stored are skipped, counted, logged, and noted in the store (`gaps`); a record that was lost from
its log before it was stored is not archived, nor one that a compacted topic no longer had.

A second thread merges the objects (`archiver.merger`), so that the time to start or to read does
not grow with the age of the archive, and removes those that are older than the retention.
"""

from __future__ import annotations

import sys
import time
from typing import Final

from millrace.archiver.archiving import Archiver
from millrace.archiver.merger import Merger
from millrace.archiver.settings import ArchiverSettings
from millrace.contracts.topics import ARCHIVED
from millrace.contracts.wire.groups import ARCHIVER
from millrace.infra.object_store import ObjectStore
from millrace.infra.process.partition_watch import PartitionWatch
from millrace.infra.process.servers import await_kafka, await_partitions, await_store
from millrace.infra.process.service import Service, run_service
from millrace.infra.process.watchdog import Watchdog

_STALL_SECONDS: Final = 60.0
#: Longest shutdown, seconds. Records that are not stored by then are consumed again after the
#: next start.
END_SECONDS: Final = 8.0


def main() -> int:
    """Archive until shutdown; returns the exit status."""
    return run_service(
        "archiver", _work, waiting_for={"servers", "assignment"}, end_seconds=END_SECONDS
    )


def _work(service: Service) -> None:
    settings, stop, health = service.settings, service.stop, service.health
    limits = ArchiverSettings.read()
    last_step = time.monotonic()

    def alive() -> str | None:
        silent = time.monotonic() - last_step
        waits = "servers" in health.waiting_for
        late = silent > _STALL_SECONDS and not waits
        return f"no progress for {silent:.0f} s" if late else None

    health.alive = alive
    await_kafka(settings, ARCHIVED, stop)
    partitions = await_partitions(settings, stop)
    await_store(settings, stop)
    last_step = time.monotonic()
    health.waiting_for.discard("servers")
    archiver = Archiver(settings, limits, ObjectStore(settings))
    stall_seconds = limits.max_seconds + limits.stall_seconds
    guards = (
        Watchdog(settings, ARCHIVER, archiver.places, stall_seconds=stall_seconds),
        PartitionWatch(settings, ARCHIVER, partitions),
        merger := Merger(ObjectStore(settings), limits, archiver.owned),
    )
    for guard in guards:
        guard.start()
    while not stop.is_set():
        archiver.step(time.monotonic())
        last_step = time.monotonic()
        merger.check()
        if archiver.owned():
            health.waiting_for.discard("assignment")
    for guard in guards:
        guard.stop()
    archiver.close()


if __name__ == "__main__":
    sys.exit(main())
