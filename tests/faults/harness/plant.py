"""A running system to play a fault on: one namespace, its processes, its source, its witness.

Everything runs as in production, each service in a process of its own; the plant starts and
supervises them (`Program`), sends windows (`Source`), and follows what comes of them
(`Observer`, `OffsetSampler`). Waiting is always for a condition.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final

import msgspec
import numpy as np

from millrace.contracts.clock import now
from millrace.contracts.events.model_event import Activated, ModelEvent, Ready, RolledBack
from millrace.contracts.events.prediction import Prediction
from millrace.contracts.topics import (
    NORMALIZED,
    PREDICTIONS,
    SENSOR_WINDOWS,
    Topic,
)
from millrace.infra import embedded
from millrace.infra.declare import declare_model
from millrace.infra.kafka.clients import admin
from millrace.infra.kafka.publisher import Publisher
from millrace.infra.local.programs import INFERENCE, STREAM_PROCESSOR
from millrace.infra.object_store import ObjectStore
from millrace.infra.settings import Settings
from millrace.infra.topics.admin import create_topics
from millrace.model_families.artefact import PackedArtefact, publish
from millrace.registry.state import Registry
from tests.faults.harness.observer import Observer
from tests.faults.harness.offsets import OffsetSampler
from tests.faults.harness.processes import PATIENCE, Processes
from tests.faults.harness.programs import Program
from tests.faults.harness.servers import Servers
from tests.faults.harness.source import SPEC, Input, Source
from tests.faults.harness.versions import approved, packed, registered
from tests.faults.oracle.evidence import Evidence, gather, ledger_of, model_events, registry_of
from tests.faults.oracle.recovery import seconds_to_recover
from tests.faults.oracle.reference import Reference
from tests.integration.observing import environment as environment_of
from tests.places import settings_at

__all__ = ["PARTITIONS", "PATIENCE", "SOURCE", "Plant"]

PARTITIONS: Final = 4
#: How long all may take to be quiet before the observer is suspected to see too little, seconds.
_REOPEN_SECONDS: Final = 20.0
SOURCE: Final = "/millrace/faults"
#: What each group has to have read before all is quiet.
_READ_BY: Final[Mapping[str, Sequence[Topic]]] = {
    "millrace.stream-processor": (SENSOR_WINDOWS, PREDICTIONS),
    "millrace.inference": (NORMALIZED,),
}


class Plant(Processes):
    """A system under fault.

    Attributes:
        servers: Its servers, if it has a pair of its own; None if others use them, too.
        source: Sends windows.
        observer: What a ``read_committed`` reader has seen so far.
        offsets: What the groups have committed so far.
        seed: Seed of the case.
        rng: Seeded; for a case's random moments.
        inputs: Further inputs that the oracle must find, which others than `source` send.
        problems: What a case itself found wrong.
        excused: Ids of windows that the case has lost on purpose.
        forgotten: Topics whose committed offsets may go back, since the case has broken them.
        archived: Offsets in the archive's objects that were read so far, by object.
    """

    def __init__(
        self,
        endpoints: embedded.Endpoints,
        folder: Path,
        namespace: str,
        seed: int,
        servers: Servers | None = None,
    ) -> None:
        """Create topics and bucket, and begin to watch; no service is started.

        Raises:
            ServerError: The servers do not answer.
        """
        folder.mkdir(parents=True, exist_ok=True)
        settings = settings_at(endpoints, folder / "var", namespace, kafka_partitions=PARTITIONS)
        super().__init__(settings, folder)
        self.servers = servers
        create_topics(admin(self.settings), self.settings)
        self.store = ObjectStore(self.settings)
        self.store.create_bucket()
        self.observer = Observer(self.settings)
        self.offsets = OffsetSampler(self.settings)
        self.source = self.make_source(seed)
        self.inputs: list[Input] = []
        self.archived: dict[str, list[int]] = {}
        self._publisher = Publisher(self.settings, SOURCE)
        self._reference = Reference(self.settings, self.observer, self._calm_processor, self.folder)
        self.begin(seed)

    def make_source(self, seed: int) -> Source:
        """Make what sends windows."""
        return Source(self.settings, seed)

    def begin(self, seed: int) -> None:
        """Forget the faults of the case before, and seed the next one's moments."""
        self.seed = seed
        self.rng = np.random.default_rng([seed, 7])
        self.faults = []
        self.problems: list[str] = []
        self.excused: set[str] = set()
        self.forgotten: set[str] = set()

    def serve(self) -> None:
        """Bring up what serves: the model, both services, and two versions, the newer active."""
        declare_model(self.settings, SPEC, SOURCE)
        self.start(STREAM_PROCESSOR)
        self.start(INFERENCE)
        self.await_first_prediction()
        self.swap()

    def await_first_prediction(self) -> None:
        """Send some windows, and wait until inference has answered one: it has started then."""
        self.source.send(8)
        self.until(lambda: self.observer.count(PREDICTIONS) > 0, "the first prediction")

    def grown(self, partitions: int) -> None:
        """Follow topics that have got more partitions, from their beginning, and send to all."""
        self.observer.close()
        self.offsets.close()
        self.settings = self.settings.model_copy(update={"kafka_partitions": partitions})
        self.observer = Observer(self.settings)
        self.offsets = OffsetSampler(self.settings)
        self.source.spread(self.settings)

    # --- models --------------------------------------------------------------------------

    @property
    def registry(self) -> Registry:
        """The registry as its events tell it so far."""
        return registry_of(model_events(self.observer))

    def publish(self, *events: ModelEvent) -> None:
        """Write to the registry."""
        for event in events:
            self._publisher.send(event)

    def make_version(self, artefact: PackedArtefact | None = None) -> int:
        """Register and approve the next version, with seeded weights unless told otherwise.

        Returns:
            Its number.
        """
        number = max(self.registry.models[SPEC.name].versions) + 1
        stored = publish(self.store, artefact or packed(SPEC, number))
        self.publish(registered(SPEC, number, stored), approved(SPEC, number))
        return number

    def await_ready(self, version: int, replica: str = "inference-0") -> None:
        """Wait until a replica says that it has loaded a version."""
        self.until(
            lambda: any(
                isinstance(e, Ready) and (e.version, e.replica) == (version, replica)
                for e in model_events(self.observer)
            ),
            f"version {version} ready on {replica}",
        )

    def activate(self, version: int, *, back: bool = False) -> int:
        """Begin a serving epoch, without waiting for anything.

        Returns:
            Its number.
        """
        serving = self.registry.models[SPEC.name].serving
        epoch = (serving.epoch if serving else 0) + 1
        name = f"epoch-{epoch}"
        if back:
            self.publish(
                RolledBack(
                    id=name, model=SPEC.name, version=version, at=now(), epoch=epoch, detail=""
                )
            )
        else:
            self.publish(
                Activated(id=name, model=SPEC.name, version=version, at=now(), epoch=epoch)
            )
        self.until(
            lambda: (s := self.registry.models[SPEC.name].serving) is not None and s.epoch >= epoch,
            f"epoch {epoch} in the registry",
        )
        return epoch

    def await_fences(self, epoch: int) -> None:
        """Wait until every partition is stamped for an epoch."""
        self.until(
            lambda: (
                len({e.partition for e in ledger_of(self.observer) if e.epoch == epoch})
                == self.settings.kafka_partitions
            ),
            f"epoch {epoch} in the ledger of every partition",
        )
        self._reference.begin()

    def swap(self) -> int:
        """Make a version, and have it serve in every partition.

        Returns:
            Its number.
        """
        version = self.make_version()
        self.await_ready(version)
        self.await_fences(self.activate(version))
        return version

    # --- time ----------------------------------------------------------------------------

    def expect(self, holds: bool, what: str) -> None:  # noqa: FBT001  (it reads as a sentence)
        """Say what the oracle cannot know; if it does not hold, the case has failed."""
        if not holds:
            self.problems.append(what)

    def until_predicted(self, more: int, seconds: float = PATIENCE) -> None:
        """Wait until so many more predictions have been committed than there are now."""
        wanted = self.observer.count(PREDICTIONS) + more
        self.until(
            lambda: self.observer.count(PREDICTIONS) >= wanted, f"{more} predictions", seconds
        )

    def until_recovered(self, seconds: float = PATIENCE) -> None:
        """Wait for the first prediction of a window that was sent after the last fault."""
        mark = self.faults[-1]
        self.until(
            lambda: self.seconds_from(mark) < float("inf"),
            "a prediction of a window sent after the fault",
            seconds,
        )

    def seconds_from(self, mark: float) -> float:
        """How long recovery took from a moment; see `seconds_to_recover`."""
        observer = self.observer
        return seconds_to_recover(
            mark, observer.records(SENSOR_WINDOWS), observer.records(PREDICTIONS)
        )

    def quiet(self, seconds: float = PATIENCE) -> bool:
        """Wait until everything that was sent is processed by every group.

        Returns:
            Whether that was so in time; if not, the oracle will say what is missing.
        """
        reopened = time.monotonic()
        deadline = reopened + seconds

        def is_over() -> bool:
            nonlocal reopened
            if self._is_quiet():
                return True
            now = time.monotonic()
            if now - reopened > _REOPEN_SECONDS:
                self.observer.reopen()
                reopened = now
            return now > deadline

        self.until(is_over, "all to be quiet", seconds + PATIENCE)
        return self._is_quiet()

    def _is_quiet(self) -> bool:
        """Say whether all is processed that is in the topics, and all of them is known here.

        What a group had yet to write when it was asked for its offsets is new to a reading after
        that; so nothing is on its way if there is nothing new.
        """
        known = self.observer.total
        return self._is_processed() and self.observer.read_to_end() and self.observer.total == known

    def _is_processed(self) -> bool:
        return self.observer.count(SENSOR_WINDOWS) >= self.source.count and all(
            self.offsets.latest(group, topic.name, partition) >= self.observer.end(topic, partition)
            for group, topics in _READ_BY.items()
            for topic in topics
            for partition in range(self.settings.kafka_partitions)
        )

    def latest_prediction(self) -> Prediction:
        """The prediction that arrived last.

        Raises:
            LookupError: There is none.
        """
        return msgspec.json.decode(self.observer.records(PREDICTIONS)[-1].value, type=Prediction)

    def check(self) -> None:
        """Make sure that every program stays up, and that the witness sees.

        Raises:
            ServerError: One does not.
        """
        super().check()
        self.observer.check()

    # --- verdict -------------------------------------------------------------------------

    def evidence(self) -> Evidence:
        """Everything that the oracle may know; what is excused was never sent for it."""
        inputs, excused = [], set()
        for one in (*self.source.sent, *self.inputs):
            if one.window is not None and one.window.id in self.excused:
                excused.add((one.key, one.value))
            else:
                inputs.append(one)
        commits = [one for one in self.offsets.changes() if one.topic not in self.forgotten]
        found = gather(self.observer, inputs, commits)
        raw = [record for record in found.raw if (record.key, record.value) not in excused]
        return replace(found, raw=raw)

    def state_differences(self) -> list[str]:
        """Compare the state with an undisturbed run's; see `Reference.differences`."""
        return self._reference.differences()

    def recovery(self) -> float | None:
        """The longest recovery of the case's faults; see `seconds_to_recover`.

        Returns:
            Seconds; None if no fault was noted, infinity if nothing came after one.
        """
        return max((self.seconds_from(mark) for mark in self.faults), default=None)

    def tidy(self) -> None:
        """Also let the source send every record once again."""
        super().tidy()
        self.source.copies = 1

    def close(self) -> None:
        """End everything but the servers, without giving it time: all is judged."""
        for program in self.programs.values():
            program.stop(0.0)
        self._reference.close()
        self.offsets.close()
        self.observer.close()

    def _calm_processor(self, settings: Settings, folder: Path) -> Program:
        """A stream processor to which nothing happens."""
        told = {**environment_of(settings), "MILLRACE_REPLICA": "0", "MILLRACE_FAULT": ""}
        return Program("calm", "tests.faults.oracle.calm", told, folder / "calm.log")
