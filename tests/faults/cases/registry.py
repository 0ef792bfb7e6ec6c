"""Registry events that nobody should write: every reader refuses them, and goes on."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from millrace.console.operations.models import refused_lines
from millrace.contracts.clock import now
from millrace.contracts.events.model_event import (
    Activated,
    Approved,
    Artefact,
    ModelEvent,
    Registered,
    Rejected,
    RolledBack,
)
from millrace.contracts.normaliser import Normaliser
from millrace.contracts.topics import MODEL_EVENTS
from millrace.infra.kafka.clients import producer
from millrace.infra.local.programs import INFERENCE, STREAM_PROCESSOR
from tests.faults.cases.case import case
from tests.faults.harness.plant import PATIENCE, Plant
from tests.faults.harness.source import SPEC
from tests.faults.harness.versions import approved, registered

_SOME = 100


@case("registry/bad-event", own_plant=True)
def bad_events(plant: Plant) -> None:
    """Bad registrations are approved and activated, and all services are started anew."""
    with plant.source.flowing():
        plant.until_predicted(_SOME)
        model = plant.registry.models[SPEC.name]
        serving = model.serving
        assert serving is not None
        number, epoch = max(model.versions) + 1, serving.epoch + 1
        bad = list(_registrations(number))
        for made in bad:
            plant.publish(made, *_released(made.model, made.version, epoch))
        plant.until_predicted(_SOME)
        plant.publish(*_verdicts(serving.version, epoch))
        _write(plant, b'{"kind":"registered","model":"pump","version":"seven"}', b"\xff", b"[" * 50)
        for name in (STREAM_PROCESSOR, INFERENCE):
            plant[name].kill()
        plant.fault()
        plant.until_predicted(2 * _SOME, 2 * PATIENCE)
        plant.until_recovered()
        plant.expect(
            plant.registry.models[SPEC.name].serving == serving,
            "a bad event has changed what serves",
        )
        refused = {(line.model, line.version) for line in refused_lines(plant.registry)}
        for made in bad:
            plant.expect(
                (made.model, made.version) in refused, f"{made.id} was refused without a word"
            )
        plant.swap()
        plant.until_predicted(_SOME)


def _registrations(number: int) -> Iterator[Registered]:
    """Versions that no service could use."""
    good = registered(SPEC, number, None)
    change = msgspec.structs.replace
    yield change(good, id="short-units", normaliser=Normaliser((1.0,), (1.0,)))
    yield change(good, id="other-task", version=number + 1, spec=change(SPEC, horizon=1))
    path = Artefact(f"models/../{SPEC.name}", "0" * 64)
    yield change(good, id="path", version=number + 2, artefact=path)
    yield change(good, id="absurd", version=1 << 62)
    yield change(good, id="negative", version=-1)
    huge = change(SPEC, name="huge", window=1 << 40, horizon=1 << 40)
    yield change(good, id="huge", model="huge", version=0, spec=huge)
    rival = change(SPEC, name="rival")
    identity = Normaliser.identity(len(SPEC.sensors))
    yield change(good, id="rival", model="rival", version=0, spec=rival, normaliser=identity)


def _released(model: str, version: int, epoch: int) -> tuple[ModelEvent, ...]:
    """All that would bring a version into service."""
    name = f"bad-{model}-{version}"
    passed = approved(SPEC, version)
    return (
        msgspec.structs.replace(passed, id=name, model=model),
        Activated(id=name, model=model, version=version, at=now(), epoch=epoch),
    )


def _verdicts(serving: int, epoch: int) -> tuple[ModelEvent, ...]:
    """Events about good versions that would stop every later release, or take persistence away."""
    return (
        Activated(id="far", model=SPEC.name, version=serving, at=now(), epoch=1 << 62),
        RolledBack(id="none", model=SPEC.name, version=99, at=now(), epoch=epoch, detail=""),
        Rejected(id="no-0", model=SPEC.name, version=0, at=now(), detail="not wanted"),
        Approved(id="none", model="nobody", version=1, at=now(), detail=""),
    )


def _write(plant: Plant, *values: bytes) -> None:
    """Write records that are no events."""
    client = producer(plant.settings)
    for value in values:
        client.produce(plant.settings.named(MODEL_EVENTS.name), value, b"pump")
    client.flush()
