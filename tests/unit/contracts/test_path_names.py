"""Names that become a path or an object key: what is refused, and that no old name is."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from millrace.contracts.events.model_event import Artefact, ModelEvent, Ready
from millrace.contracts.events.training import TrainingRequest, TrainingRun
from millrace.contracts.invalid_record import InvalidRecord
from millrace.contracts.wire.codec import EventReader, encode
from millrace.registry.decisions import declare
from tests.builders import AT, pump_spec

REQUEST = TrainingRequest("q-1", "pump", "request", "", AT, AT)
RUN = TrainingRun("run-3f", "pump", REQUEST, "started", AT)
REGISTERED = declare(pump_spec(), AT)[0]
LEADS_AWAY = (
    "..",
    ".",
    "",
    "../run-1",
    "a/../../b",
    "/etc",
    "a//b",
    "a/",
    "run\n",
    "a\x1b[2J",
    "a\x9b",
)


def read(kind: Any, event: Any, **changed: Any) -> Any:
    """Write an event with other fields, and read it as its readers do."""
    return EventReader(kind)(encode(msgspec.structs.replace(event, **changed)))


@pytest.mark.parametrize("name", LEADS_AWAY)
def test_a_name_that_leads_away_is_no_event(name: str) -> None:
    """Run ids, names of models, prefixes of artefacts and replicas."""
    with pytest.raises(InvalidRecord):
        read(TrainingRun, RUN, id=name)
    with pytest.raises(InvalidRecord):
        read(TrainingRun, RUN, model=name)
    with pytest.raises(InvalidRecord):
        read(TrainingRequest, REQUEST, model=name)
    with pytest.raises(InvalidRecord):
        read(ModelEvent, REGISTERED, model=name)
    with pytest.raises(InvalidRecord):
        read(ModelEvent, REGISTERED, artefact=Artefact(name, "00"))
    if name:  # a task without a name cannot even be made
        with pytest.raises(InvalidRecord):
            read(ModelEvent, REGISTERED, spec=msgspec.structs.replace(pump_spec(), name=name))
    with pytest.raises(InvalidRecord):
        read(ModelEvent, Ready(id="r", model="pump", version=1, at=AT, replica=name))


@pytest.mark.parametrize(
    "name", ["fleet", "host-1.5", "Pumpe 1", "pump[/a]", "Größe.v2", "..x", "a/b"]
)
def test_a_name_of_a_model_may_be_any_that_keeps_to_its_place(name: str) -> None:
    """Declared ones have been plain; others' are read as they were."""
    assert read(ModelEvent, REGISTERED, model=name).model == name
    artefact = Artefact(f"models/{name}/v1-run-3f", "00")
    assert read(ModelEvent, REGISTERED, artefact=artefact).artefact == artefact


@pytest.mark.parametrize("name", ["run-0123456789abcdef01234567", "run-1", "r", "a.b_c-d"])
def test_ids_of_runs_so_far_are_read(name: str) -> None:
    """They become a folder of the trainer, and a key of the object store."""
    assert read(TrainingRun, RUN, id=name).id == name


def test_a_name_has_a_bound() -> None:
    """Longer ones would be no name of a file."""
    assert read(TrainingRun, RUN, id="r" * 200).id
    with pytest.raises(InvalidRecord):
        read(TrainingRun, RUN, id="r" * 201)
