"""Pipeline of micro-batches: fetch, forecast, encode, commit.

```
fetched ──ask──► forecasting ──full──► pending ──encode──► submitted ──► committed
                     └───────not full──────────encode──────────┘   └──► undone, unsure: read again
```

The predictions of a micro-batch and the offsets of its windows are one Kafka transaction. After a
crash before the commit, a `read_committed` consumer sees none of it; after a crash after the
commit, all of it.

A micro-batch closes at `MOST_WINDOWS`, or `AGE_SECONDS` after the last one was closed, whichever
is first: a single window is predicted immediately, and under load batches grow, so that the broker
spends little time on transactions.

While one is committed, the next is forecast (`CommitPipeline`). A full micro-batch means that there
is a backlog. It then stays pending while the next one is fetched and submitted to the network, and
is encoded after that, so that the network is never idle.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final

import structlog
from confluent_kafka import Message

from millrace.contracts.invalid_record import InvalidRecord
from millrace.contracts.normaliser import Normaliser
from millrace.contracts.topics import NORMALIZED, PREDICTIONS
from millrace.contracts.wire.groups import INFERENCE
from millrace.inference.batch.reading import Reading, read
from millrace.inference.batch.results import MicroBatchResults
from millrace.inference.kafka.commit_pipeline import Batch, CommitPipeline, State
from millrace.inference.kafka.membership import MOST_WINDOWS, Membership
from millrace.inference.kafka.transactions import TransactionalWriter, Unsure
from millrace.inference.metrics import FALLBACKS
from millrace.inference.serving.batches import Stamp, by_stamp
from millrace.inference.serving.loader import Loader
from millrace.inference.serving.servables import Servable, Servables
from millrace.infra.kafka.place import Place
from millrace.infra.kafka.retry import RetryPolicy
from millrace.infra.progress.balance import Balance
from millrace.infra.progress.losses import tell_lost
from millrace.infra.progress.output_progress import last_source_offsets
from millrace.infra.settings import Settings

_log = structlog.get_logger(__name__)
_OVER: Final = frozenset({State.ENDED, State.OVERDUE})
#: How long a micro-batch blocks on a version that is not loaded yet, seconds.
LOAD_SECONDS: Final = 20.0
#: How long the micro-batch in flight may take to complete during shutdown, seconds.
CLOSE_SECONDS: Final = 5.0


def replica_name(settings: Settings) -> str:
    """Name of this replica in its `ready` events; also its Kafka client id."""
    return f"inference-{settings.replica}"


class InferenceConsumer:
    """Turns stamped windows into predictions until a stop signal."""

    def __init__(
        self, settings: Settings, servables: Servables, loader: Loader, retry: RetryPolicy
    ) -> None:
        """Connect, fencing an earlier process of this replica; blocks until a broker answers."""
        self._settings = settings
        self._servables = servables
        self._loader = loader
        self._retry = retry
        self._name = replica_name(settings)
        self._network = ThreadPoolExecutor(1, "network")
        #: Partitions whose `_answered` has been recovered from the output.
        self._recovered: set[int] = set()
        self._answered: dict[int, int] = {}
        #: Offset of the next record of each partition, as far as it is known.
        self._next: dict[int, int] = {}
        #: A full micro-batch that is encoded once the next one was submitted to the network.
        self._pending: Batch | None = None
        #: Incremented when partitions are revoked: micro-batches of an earlier generation are
        #: dropped, because another replica predicts them, or they are fetched again.
        self._generation = 0
        name = f"millrace.{self._name}"
        self._balance = Balance(NORMALIZED.name, ("predicted", "refused", "repeated", "undone"))
        self._commits = CommitPipeline(
            lambda: TransactionalWriter(settings, name, retry), self._balance
        )
        self._membership = Membership(settings, self._name, retry, self._leave)

    def run_once(self) -> None:
        """Fetch a micro-batch, or wait briefly for one, and advance the pipeline.

        Its transaction may still be in flight when this returns.

        Raises:
            Stopped: A stop signal arrived while the broker was unavailable.
            KafkaException: Another process has this replica's name, or the error is permanent.
            ServerError: Not even persistence is loaded.
        """
        self._retry.beat()
        pending = self._pending
        arrived = self._membership.fetch(idle=pending is None)
        counts = Counter(map(Message.partition, arrived))
        for partition, count in counts.items():
            self._balance.read(partition or 0, count)
        newer = set(counts)
        if self._commits.state in _OVER and not self._is_committed(newer):
            return
        if pending is not None and pending.generation != self._generation:
            self._go_back(newer)
            return
        # Done at assignment already, so that it does not delay the first window.
        self._recover_progress()
        self._tell_gaps(arrived)
        before = {} if pending is None else pending.reading.answered
        reading = read(arrived, self._answered | before)
        stamps = by_stamp(reading.windows)
        # Versions that the next micro-batch needs must not delay the pending one.
        if not self._servables.settled(stamps) and not self._submit_pending(newer):
            return
        asked = self._ask(reading, stamps, len(arrived)) if arrived else None
        if not self._submit_pending(newer):
            return
        if asked is not None and asked.size == MOST_WINDOWS:
            self._pending = asked
        elif asked is not None:
            self._submit(asked, newer)

    @property
    def joined(self) -> bool:
        """Whether the group has assigned partitions to this replica."""
        return self._membership.joined

    def places(self) -> set[Place] | None:
        """Return the partitions that are processed; see `Membership.places`."""
        return self._membership.places()

    def close(self) -> bool:
        """Wait for the transaction in flight, and leave the group.

        Returns:
            Whether nothing is in flight. If false, a commit was abandoned whose thread may never
            end, so the process must be killed.
        """
        self._commits.close(CLOSE_SECONDS)
        self._network.shutdown(cancel_futures=True)
        self._membership.close()
        return not self._commits.abandoned

    def _ask(self, reading: Reading, stamps: Mapping[Stamp, Sequence[int]], size: int) -> Batch:
        """Submit windows to the network, each with its stamped version."""
        answers = MicroBatchResults(reading.windows, self._network)
        for stamp, places in stamps.items():
            found = self._servable(stamp)
            if found is not None:
                answers.ask(*found, places)
                continue
            why = f"model {stamp.model} has no version {stamp.version}"
            for place in places:
                answers.refuse(place, InvalidRecord("unknown_version", why))
        membership = self._membership
        offsets = membership.offsets(reading.next_offsets)
        group = membership.client.consumer_group_metadata()
        return Batch(reading, answers, offsets, group, size, self._generation)

    def _submit_pending(self, newer: set[Any]) -> bool:
        """Submit the pending micro-batch, if there is one; see `_submit`."""
        pending, self._pending = self._pending, None
        return pending is None or self._submit(pending, newer)

    def _submit(self, asked: Batch, newer: set[Any]) -> bool:
        """Encode a micro-batch, and submit it as soon as the last one is committed.

        Args:
            asked: The micro-batch.
            newer: Partitions of the records that were fetched after it.

        Returns:
            False if it was dropped, with the records fetched after it; all are read again.
        """
        records = [*asked.answers.records(), *asked.reading.refused]
        if not self._is_committed(newer | asked.reading.next_offsets.keys()):
            return False
        self._answered.update(asked.reading.answered)
        self._commits.submit(asked, records)
        return True

    def _is_committed(self, newer: set[Any]) -> bool:
        """Wait for the transaction in flight; rewind if it is not committed.

        Args:
            newer: Partitions of the records fetched since, apart from `_pending`.

        Returns:
            False if the records fetched since were dropped; they are read again as well.
        """
        failed = self._commits.result()
        if failed is None:
            return True
        self._forget(failed.partitions)
        if isinstance(failed.why, Unsure):
            self._recover(failed.why)
        self._go_back(newer | failed.partitions)
        return False

    def _go_back(self, partitions: set[Any]) -> None:
        """Drop the records that are not submitted yet, and rewind to read them again.

        Args:
            partitions: Partitions of the fetched records, apart from `_pending`.
        """
        if self._pending is not None:
            partitions = partitions | self._pending.reading.next_offsets.keys()
            self._pending = None
        self._balance.undo(self._commits.under_way)
        self._membership.rewind(partitions & self._membership.owned)

    def _servable(self, stamp: Stamp) -> tuple[Servable, Normaliser | None] | None:
        """Find the servable for a stamp, and the windows' units if they are another version's.

        A stamped version that cannot be loaded, or not now because the object store is unavailable,
        does not block: the loader has published an alert, and the last good version is used
        instead. None if the registry knows no such version.
        """
        servable = self._servables.find(stamp.model, stamp.version, LOAD_SECONDS)
        if servable is not None:
            return servable, None
        instead = self._loader.fallback(stamp.model, stamp.version)
        if instead is not None:
            FALLBACKS.labels(stamp.model).inc()
        return instead

    def _recover_progress(self) -> None:
        """Recover the progress of newly assigned partitions from the predictions themselves."""
        unknown = sorted(self._membership.owned - self._recovered)
        if not unknown:
            return
        self._forget(unknown)
        # It returns once the last owner's transactions are committed or aborted.
        for place in self._membership.committed(unknown):
            if place.offset >= 0:
                self._next[place.partition] = place.offset
        found = self._retry.call(
            lambda: last_source_offsets(self._settings, PREDICTIONS, unknown),
            "the predictions that are there",
        )
        self._answered.update(found)
        self._recovered.update(unknown)
        _log.info("partitions taken", answered=found, partitions=unknown)

    def _tell_gaps(self, arrived: Iterable[Message]) -> None:
        """Report records that expired unread: offsets of the topic ascend without gaps."""
        for message in arrived:
            partition, offset = message.partition() or 0, message.offset() or 0
            expected = self._next.get(partition, offset)
            if offset > expected:
                tell_lost(NORMALIZED, INFERENCE, partition, expected, offset)
            self._next[partition] = offset + 1

    def _leave(self, partitions: Iterable[int]) -> None:
        """Give partitions up; once this returns, they are another replica's.

        The transaction in flight has then ended or is overdue. An overdue one may still be
        committed; the next owner waits until it is decided (`Membership.committed`).
        """
        self._commits.wait()
        self._generation += 1
        self._forget(partitions)

    def _forget(self, partitions: Iterable[int]) -> None:
        """Forget the progress of partitions."""
        for partition in partitions:
            self._recovered.discard(partition)
            self._answered.pop(partition, None)
            self._next.pop(partition, None)

    def _recover(self, why: Unsure) -> None:
        """Replace the writer; the output shows what the previous one committed.

        The cause of the failure does not matter. After an outage the broker aborts our transaction,
        and then rejects our producer as fenced. If another process has really taken over, the group
        rejects our offsets, so that nothing is committed, and the next `fetch` reports it
        (`Membership`).
        """
        _log.warning("micro-batch in doubt", why=str(why))
        self._commits.renew()
        self._recovered.clear()
