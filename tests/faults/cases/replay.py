"""Replays beside the live system: killed, without the store, without the broker."""

from __future__ import annotations

import threading
from collections import Counter
from typing import Final

from millrace.console.operations.replay import Planned, Request, plan_replay, run_replay
from millrace.contracts.errors import DataError
from millrace.contracts.events.prediction import Prediction
from millrace.contracts.topics import PREDICTIONS, Topic
from millrace.contracts.wire.codec import EventReader
from millrace.infra.kafka.log_reader import read_all
from millrace.infra.local.programs import ARCHIVER
from tests.faults.cases.case import case
from tests.faults.cases.trainer import QUICK
from tests.faults.harness.plant import Plant
from tests.faults.harness.servers import KAFKA, S3

_SOME: Final = 100
_BATCH: Final = 40
_SECONDS: Final = 180.0
_read = EventReader[Prediction](Prediction)


@case("replay/killed")
def replay_is_killed(plant: Plant) -> None:
    """Its worker dies before and after a batch, at random; live goes on, and notices nothing."""
    plant.start(ARCHIVER, environment=QUICK)
    with plant.source.flowing():
        plant.until_predicted(4 * _SOME)
        planned = plan_replay(plant.settings, Request(), f"replayed-{plant.seed}")
        for point in ("before", "after", "after"):
            times = int(plant.rng.integers(1, 3))
            plant.fault()
            _run(plant, planned, f"replay.{point}-output@{times}=kill")
        _run(plant, planned)
        plant.until_predicted(_SOME)
    _check(plant, planned)


@case("replay/store-away", own_servers=True)
def store_is_away(plant: Plant) -> None:
    """The store dies while a replay begins; it waits, and goes on when the store is back."""
    assert plant.servers is not None
    plant.start(ARCHIVER, environment=QUICK)
    with plant.source.flowing():
        plant.until_predicted(4 * _SOME)
        planned = plan_replay(plant.settings, Request(), "replayed-without-store")
        plant.servers.kill(S3)
        plant.fault()
        running = threading.Thread(target=_run, args=(plant, planned), daemon=True)
        running.start()
        plant.until_predicted(2 * _SOME)
        plant.servers.start(S3)
        running.join(_SECONDS)
        plant.expect(not running.is_alive(), "the replay did not go on")
    _check(plant, planned)


@case("replay/broker-away", own_servers=True)
def broker_is_away(plant: Plant) -> None:
    """The broker dies while a replay writes; each window is there once afterwards."""
    assert plant.servers is not None
    with plant.source.flowing():
        plant.until_predicted(4 * _SOME)
    plant.quiet()
    planned = plan_replay(plant.settings, Request(), "replayed-without-broker")
    writes = threading.Event()
    running = threading.Thread(target=_run, args=(plant, planned, "", writes), daemon=True)
    running.start()
    plant.until(writes.is_set, "the replay to write")
    plant.servers.kill(KAFKA)
    plant.fault()
    plant.servers.start(KAFKA)
    running.join(_SECONDS)
    plant.expect(not running.is_alive(), "the replay did not go on")
    with plant.source.flowing():
        plant.until_recovered()
    _check(plant, planned)


def _run(
    plant: Plant, planned: Planned, fault: str = "", writes: threading.Event | None = None
) -> None:
    """Run a replay; with a fault it ends early, unless it has too few batches left for it."""
    marks = plant.folder / "marks" / planned.plan.id
    marks.mkdir(parents=True, exist_ok=True)
    settings = plant.settings.model_copy(update={"fault": fault, "fault_marks": marks})

    def tell(done: int, _: int) -> None:
        if done and writes is not None:
            writes.set()

    try:
        run_replay(settings, planned, tell, processes=1, idle=False, batch=_BATCH)
    except DataError as error:
        plant.expect("status -9" in str(error), f"the replay has failed: {error}")


def _check(plant: Plant, planned: Planned) -> None:
    """Compare the replay's topic with the predictions of the same windows."""
    wanted = {part.partition: part for part in planned.plan.parts}
    live = Counter(
        (made.source.partition, made.source.offset)
        for made in (_read(record.value or b"") for record in plant.observer.records(PREDICTIONS))
        if made.source.partition in wanted
        and made.source.offset < wanted[made.source.partition].until
    )
    topic = Topic(planned.plan.destination, "", "", "", 0)
    found = Counter(
        (made.source.partition, made.source.offset)
        for made in (_read(message.value() or b"") for message in read_all(plant.settings, topic))
    )
    plant.expect(
        found == live,
        f"the replay has {found.total()} predictions, {len(found)} different ones, of {len(live)}",
    )
