"""An undisturbed run of the same input: what detectors and join have to have come to.

In a namespace of its own a real stream processor, to which nothing happens, gets the same
records of `sensor.windows` at the same offsets, the same registry and ledger, and the
predictions that the disturbed run made. The ledger comes first, for it is the authority on
stamps, and then the registry, which without it would ask for fences of the reference's own;
`tests.faults.oracle.calm` sees to it that they are heeded.
"""

from __future__ import annotations

import threading
from collections import defaultdict
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Final

from confluent_kafka import KafkaException

from millrace.contracts.errors import ServerError
from millrace.contracts.topics import (
    CHANGELOG,
    MODEL_EVENTS,
    PREDICTIONS,
    SENSOR_WINDOWS,
    SERVING_LEDGER,
    Topic,
)
from millrace.contracts.wire.groups import STREAM_PROCESSOR
from millrace.infra.kafka.clients import admin, producer
from millrace.infra.local.waiting import wait_until
from millrace.infra.progress.committed import committed_offsets
from millrace.infra.settings import Settings
from millrace.infra.topics.admin import create_topics
from tests.faults.harness.observer import Observer, Seen
from tests.faults.harness.programs import Program
from tests.faults.oracle.state import Memory, differences, memories

#: In this order, each confirmed before the next; those that stand together as they came.
_COPIED: Final = ((SERVING_LEDGER,), (MODEL_EVENTS,), (SENSOR_WINDOWS, PREDICTIONS))
#: How long the reference may take to process everything, seconds.
_PATIENCE: Final = 180.0


class Reference:
    """The undisturbed run beside a disturbed one."""

    def __init__(
        self,
        settings: Settings,
        disturbed: Observer,
        start: Callable[[Settings, Path], Program],
        folder: Path,
    ) -> None:
        """Prepare it; nothing is started.

        Args:
            settings: Those of the disturbed run.
            disturbed: What is seen of it.
            start: Makes a stream processor with some settings; it is started here.
            folder: Where it keeps its things.
        """
        self._settings = settings.model_copy(
            update={"namespace": f"{settings.namespace}-calm", "home": folder / "calm"}
        )
        self._disturbed = disturbed
        self._make = start
        self._folder = folder
        self._copied: dict[str, int] = {}
        #: How many records each partition has got.
        self._ends: dict[tuple[Topic, int], int] = defaultdict(int)
        self._program: Program | None = None
        self._observer: Observer | None = None
        self._start_up: threading.Thread | None = None

    def differences(self) -> list[str]:
        """Bring it to where the disturbed run is, and compare.

        Returns:
            The assets whose memory differs, and in what; none if the state is equal. Both
            memories are kept beside the logs then.

        Raises:
            ServerError: The reference itself cannot be run.
        """
        self._join()
        if self._program is None:
            self._start()
        self._copy()
        observer, program = self._observer, self._program
        if observer is None or program is None:
            raise ServerError("the reference run did not start")
        found: list[str] = []
        seen: list[dict[bytes, Memory]] = []

        def check() -> None:
            program.check()
            observer.check()

        def settled() -> bool:
            # It writes memory before it commits, so all of it is there, and none will follow.
            is_done = self._has_processed_all() and observer.read_to_end()
            seen[:] = (
                memories(self._disturbed.records(CHANGELOG)),
                memories(observer.records(CHANGELOG)),
            )
            found[:] = differences(*seen)
            return is_done or not found

        wait_until(settled, "the state of an undisturbed run", seconds=_PATIENCE, meanwhile=check)
        if found:
            self._keep(*seen)
        return found

    def _has_processed_all(self) -> bool:
        """Whether it has committed everything that was copied."""
        topics = (SENSOR_WINDOWS, PREDICTIONS)
        places = {topic: range(self._settings.kafka_partitions) for topic in topics}
        committed = committed_offsets(self._settings, STREAM_PROCESSOR, places)
        return all(
            (at := committed[topic].get(partition)) is not None and at.offset >= end
            for (topic, partition), end in self._ends.items()
            if topic in committed
        )

    def begin(self) -> None:
        """Start it, if that was not done, on a thread of its own: it takes seconds."""
        if self._start_up is None:
            self._start_up = threading.Thread(target=self._try, name="reference", daemon=True)
            self._start_up.start()

    def _keep(self, disturbed: dict[bytes, Memory], calm: dict[bytes, Memory]) -> None:
        """Write down where two memories differ."""
        lines = [
            f"{key!r} {name}\n  disturbed {mine.get(name)}\n  calm      {theirs.get(name)}\n"
            for key in sorted(disturbed.keys() | calm.keys())
            for mine, theirs in [(disturbed.get(key, {}), calm.get(key, {}))]
            for name in sorted(mine.keys() | theirs.keys())
            if mine.get(name) != theirs.get(name)
        ]
        (self._folder / "differences.txt").write_text("".join(lines))

    def _try(self) -> None:
        """Start; if a fault comes in between, the broker's end say, somebody does it later."""
        with suppress(ServerError, KafkaException):
            self._start()

    def _start(self) -> None:
        if self._observer is None:
            create_topics(admin(self._settings), self._settings)
            self._client = producer(self._settings)
            self._observer = Observer(self._settings, [CHANGELOG])
        program = self._make(self._settings, self._folder)
        program.start()
        self._program = program

    def close(self) -> None:
        """End it."""
        self._join()
        if self._program is not None:
            self._program.stop(0.0)
        if self._observer is not None:
            self._observer.close()

    def _join(self) -> None:
        if self._start_up is not None:
            self._start_up.join()

    def _copy(self) -> None:
        """Write what is new, record by record, at the same offsets."""
        for topics in _COPIED:
            new: list[tuple[Topic, Seen]] = []
            for topic in topics:
                records = self._disturbed.records(topic)
                new += [(topic, record) for record in records[self._copied.get(topic.name, 0) :]]
                self._copied[topic.name] = len(records)
            for topic, record in sorted(new, key=lambda one: one[1].arrived):
                self._write(topic, record)
            if self._client.flush(30.0):
                raise ServerError("the reference run could not be fed")

    def _write(self, topic: Topic, record: Seen) -> None:
        self._ends[topic, record.partition] += 1
        while True:
            try:
                self._client.produce(
                    self._settings.named(topic.name),
                    record.value,
                    record.key,
                    partition=record.partition,
                    timestamp=record.timestamp_ms,
                    headers=list(record.headers),
                )
            except BufferError:
                self._client.poll(0.1)
            else:
                self._client.poll(0)
                return
