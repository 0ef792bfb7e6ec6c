"""Input that comes twice, and registry events that are late, repeated or old."""

from __future__ import annotations

import msgspec

from millrace.contracts.clock import now
from millrace.contracts.events.model_event import Activated, Approved, Ready
from tests.faults.cases.case import case
from tests.faults.harness.plant import Plant
from tests.faults.harness.source import SPEC
from tests.faults.harness.versions import approved, packed, registered
from tests.faults.oracle.evidence import model_events

_SOME = 100


@case("input/twice")
def every_record_twice(plant: Plant) -> None:
    """Every raw record is sent twice, good and bad, while a version is swapped in."""
    plant.source.copies = 2
    plant.source.send(400)
    with plant.source.flowing():
        plant.swap()
        plant.until_predicted(_SOME)


@case("input/replayed")
def an_edge_replays(plant: Plant) -> None:
    """An edge that has forgotten what it sent sends its last records again, in order."""
    plant.source.send(400)
    plant.quiet()
    good = [record for record in plant.source.sent if record.window is not None]
    for record in good[-300:]:
        plant.source.again(record)
    plant.source.flush()
    with plant.source.flowing():
        plant.swap()
        plant.until_predicted(_SOME)


@case("model-events/repeated")
def events_are_repeated(plant: Plant) -> None:
    """All registry events of the model once more, twice over, oldest first: nothing changes."""
    with plant.source.flowing():
        plant.swap()
        serving = plant.registry.models[SPEC.name].serving
        events = model_events(plant.observer)
        plant.publish(*events, *reversed(events))
        plant.until_predicted(2 * _SOME)
        plant.expect(
            plant.registry.models[SPEC.name].serving == serving,
            "repeated events have begun a serving epoch",
        )
        plant.swap()
        plant.until_predicted(_SOME)


@case("model-events/old-replayed")
def an_old_activation_is_replayed(plant: Plant) -> None:
    """An activation of an epoch that has passed comes again, with another id and time."""
    with plant.source.flowing():
        plant.swap()
        model = plant.registry.models[SPEC.name]
        assert model.serving is not None
        for epoch in model.epochs[:-1]:
            plant.publish(
                Activated(
                    id=f"again-{epoch.epoch}",
                    model=SPEC.name,
                    version=epoch.version,
                    at=now(),
                    epoch=epoch.epoch,
                )
            )
        plant.until_predicted(2 * _SOME)
        plant.expect(
            plant.registry.models[SPEC.name].serving == model.serving,
            "an old activation has changed what serves",
        )


@case("model-events/out-of-order")
def events_come_in_the_wrong_order(plant: Plant) -> None:
    """Ready, approved and activated before registered: each counts only in its place."""
    with plant.source.flowing():
        model = plant.registry.models[SPEC.name]
        assert model.serving is not None
        number = max(model.versions) + 1
        epoch = model.serving.epoch + 1
        early = Activated(
            id=f"early-{number}", model=SPEC.name, version=number, at=now(), epoch=epoch
        )
        ready = Ready(
            id=f"early-ready-{number}",
            model=SPEC.name,
            version=number,
            at=now(),
            replica="inference-0",
        )
        plant.publish(early, ready, approved(SPEC, number))
        artefact = packed(SPEC, number)
        for name, data in artefact.files.items():
            plant.store.put(f"{artefact.prefix}/{name}", data)
        plant.publish(registered(SPEC, number, artefact.reference), early)
        plant.until_predicted(_SOME)
        plant.expect(
            plant.registry.models[SPEC.name].serving == model.serving,
            "a version served before it was approved",
        )
        late: Approved = msgspec.structs.replace(
            approved(SPEC, number), id=f"late-{number}", at=now()
        )
        plant.publish(late)
        plant.await_ready(number)
        plant.await_fences(plant.activate(number))
        plant.until_predicted(_SOME)
