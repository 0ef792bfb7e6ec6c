"""A micro-batch: read, predict, write, and commit all of it together.

Predictions and the offsets of the windows that they answer are one Kafka transaction per
micro-batch. A crash before the commit leaves nothing that a `read_committed` reader sees; a
crash after it leaves all.

A micro-batch closes at `MOST_WINDOWS`, or when `AGE_SECONDS` have passed since the last one
was closed, whichever is first: a window that comes alone is predicted at once, and under load
batches grow, so that transactions do not take the broker's time from everybody else.

While one is written and committed, the next is forecast (`CommitPipeline`). Where one is full, more
windows wait: then the one after it is fetched, and asked of the network, before the answers to
it are written down, so that the network always has something to do.
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
from millrace.inference.kafka.commit_pipeline import Batch, CommitPipeline
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
#: How long a micro-batch waits for a version that is not loaded yet, seconds.
LOAD_SECONDS: Final = 20.0
#: How long a micro-batch may take to come to its end when the process is told to, seconds.
CLOSE_SECONDS: Final = 5.0


def replica_name(settings: Settings) -> str:
    """Name of this replica, by which its `ready` is known; also its Kafka client id."""
    return f"inference-{settings.replica}"


class InferenceConsumer:
    """Turns stamped windows into predictions until it is told to stop."""

    def __init__(
        self, settings: Settings, servables: Servables, loader: Loader, patience: RetryPolicy
    ) -> None:
        """Connect, fencing an earlier life of this replica; waits for the broker."""
        self._settings = settings
        self._servables = servables
        self._loader = loader
        self._patience = patience
        self._name = replica_name(settings)
        self._network = ThreadPoolExecutor(1, "network")
        #: Partitions whose `_answered` has been learned from the output.
        self._learned: set[int] = set()
        self._answered: dict[int, int] = {}
        #: Offset of the next record of each partition, as far as it is known.
        self._next: dict[int, int] = {}
        #: A full micro-batch whose answers wait until the next one has been asked.
        self._ahead: Batch | None = None
        #: Another number whenever partitions have left: what was fetched before is not ours to
        #: answer any more, or will be fetched again.
        self._tenure = 0
        name = f"millrace.{self._name}"
        self._balance = Balance(NORMALIZED.name, ("predicted", "refused", "repeated", "undone"))
        self._flights = CommitPipeline(
            lambda: TransactionalWriter(settings, name, patience), self._balance
        )
        self._membership = Membership(settings, self._name, patience, self._leave)

    def run_once(self) -> None:
        """Take what is there, or wait for it for a moment, and begin to work it off.

        What is fetched is launched (`CommitPipeline`) and may still be under way when this returns.

        Raises:
            Stopped: The process was told to stop while the broker was away.
            KafkaException: Another process has this replica's name, or broken machinery.
            ServerError: Not even persistence is loaded.
        """
        self._patience.beat()
        ahead = self._ahead
        arrived = self._membership.fetch(idle=ahead is None)
        counts = Counter(map(Message.partition, arrived))
        for partition, count in counts.items():
            self._balance.read(partition or 0, count)
        behind = set(counts)
        if self._flights.over and not self._landed(behind):
            return
        if ahead is not None and ahead.tenure != self._tenure:
            self._go_back(behind)
            return
        # As soon as there are partitions, lest their first window wait for it.
        self._learn()
        self._tell_gaps(arrived)
        before = {} if ahead is None else ahead.reading.answered
        reading = read(arrived, self._answered | before)
        stamps = by_stamp(reading.windows)
        # What is ahead does not wait for the versions that others need.
        if not self._servables.settled(stamps) and not self._launch_ahead(behind):
            return
        asked = self._ask(reading, stamps, len(arrived)) if arrived else None
        if not self._launch_ahead(behind):
            return
        if asked is not None and asked.size == MOST_WINDOWS:
            self._ahead = asked
        elif asked is not None:
            self._launch(asked, behind)

    @property
    def joined(self) -> bool:
        """Whether the group has given this replica its partitions."""
        return self._membership.joined

    def places(self) -> set[Place] | None:
        """Tell which partitions are worked on; see `Membership.places`."""
        return self._membership.places()

    def close(self) -> bool:
        """Let what is under way end, and leave the group.

        Returns:
            Whether nothing goes on. Else a commit has been left behind, which may never end, and
            so would not the process.
        """
        self._flights.close(CLOSE_SECONDS)
        self._network.shutdown(cancel_futures=True)
        self._membership.close()
        return not self._flights.abandoned

    def _ask(self, reading: Reading, stamps: Mapping[Stamp, Sequence[int]], size: int) -> Batch:
        """Have windows run on the versions that they are stamped with."""
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
        return Batch(reading, answers, offsets, group, size, self._tenure)

    def _launch_ahead(self, behind: set[Any]) -> bool:
        """Launch what is ahead, if anything is; see `_launch`."""
        ahead, self._ahead = self._ahead, None
        return ahead is None or self._launch(ahead, behind)

    def _launch(self, asked: Batch, behind: set[Any]) -> bool:
        """Write a micro-batch down, and launch it as soon as the last one is committed.

        Args:
            asked: The micro-batch.
            behind: Partitions of what has been fetched since.

        Returns:
            False if it had to be dropped, and what is behind it too; they are read again.
        """
        records = [*asked.answers.records(), *asked.reading.refused]
        if not self._landed(behind | asked.reading.next_offsets.keys()):
            return False
        self._answered.update(asked.reading.answered)
        self._flights.submit(asked, records)
        return True

    def _landed(self, behind: set[Any]) -> bool:
        """Make sure that all that was launched is committed; go back if it is not.

        Args:
            behind: Partitions of what has been fetched since, beside what is `_ahead`.

        Returns:
            False if what has been fetched since must be dropped: it is read again, too.
        """
        failed = self._flights.result()
        if failed is None:
            return True
        self._forget(failed.partitions)
        if isinstance(failed.why, Unsure):
            self._recover(failed.why)
        self._go_back(behind | failed.partitions)
        return False

    def _go_back(self, partitions: set[Any]) -> None:
        """Drop what is not launched yet, and read it again.

        Args:
            partitions: Partitions of what has been fetched, beside what is `_ahead`.
        """
        if self._ahead is not None:
            partitions = partitions | self._ahead.reading.next_offsets.keys()
            self._ahead = None
        self._balance.undo(self._flights.under_way)
        self._membership.rewind(partitions & self._membership.owned)

    def _servable(self, stamp: Stamp) -> tuple[Servable, Normaliser | None] | None:
        """Find what runs a stamp, and the windows' units if they are another version's.

        A stamped version that cannot be loaded, or not now because the object store is away,
        stops nothing: the loader has said so, and the last good version answers in its stead.
        None if the registry knows no such version.
        """
        servable = self._servables.find(stamp.model, stamp.version, LOAD_SECONDS)
        if servable is not None:
            return servable, None
        instead = self._loader.fallback(stamp.model, stamp.version)
        if instead is not None:
            FALLBACKS.labels(stamp.model).inc()
        return instead

    def _learn(self) -> None:
        """Learn from the predictions themselves how far each new partition has been answered."""
        unknown = sorted(self._membership.owned - self._learned)
        if not unknown:
            return
        self._forget(unknown)
        # Whatever the last owner has committed, or had begun to, is settled then.
        for place in self._membership.committed(unknown):
            if place.offset >= 0:
                self._next[place.partition] = place.offset
        found = self._patience.call(
            lambda: last_source_offsets(self._settings, PREDICTIONS, unknown),
            "the predictions that are there",
        )
        self._answered.update(found)
        self._learned.update(unknown)
        _log.info("partitions taken", answered=found, partitions=unknown)

    def _tell_gaps(self, arrived: Iterable[Message]) -> None:
        """Tell which records have expired unread: offsets of the topic ascend without gaps."""
        for message in arrived:
            partition, offset = message.partition() or 0, message.offset() or 0
            expected = self._next.get(partition, offset)
            if offset > expected:
                tell_lost(NORMALIZED, INFERENCE, partition, expected, offset)
            self._next[partition] = offset + 1

    def _leave(self, partitions: Iterable[int]) -> None:
        """Partitions are another replica's once this returns.

        What is under way is over then, or left behind: if it is committed all the same, its
        offsets came in time, and the next owner waits for them (`Membership.committed`).
        """
        self._flights.wait()
        self._tenure += 1
        self._forget(partitions)

    def _forget(self, partitions: Iterable[int]) -> None:
        """How far partitions have been answered is not known any more."""
        for partition in partitions:
            self._learned.discard(partition)
            self._answered.pop(partition, None)
            self._next.pop(partition, None)

    def _recover(self, why: Unsure) -> None:
        """Begin again with another writer; the output tells what the last one has committed.

        Why it failed does not matter. A broker that was away ends our transaction in its own
        way, and refuses the producer then as if it were somebody else's. If there is somebody
        else, the group refuses our offsets, so that nothing of ours can be committed, and
        tells the next `fetch` (`Membership`).
        """
        _log.warning("micro-batch in doubt", why=str(why))
        self._flights.renew()
        self._learned.clear()
