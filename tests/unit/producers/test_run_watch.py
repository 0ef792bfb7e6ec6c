"""Which runs slow a replay down."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from millrace.contracts.events.model_event import Activated, Approved, Registered
from millrace.contracts.events.training import RunState, TrainingRequest, TrainingRun
from millrace.contracts.model_spec import ModelSpec
from millrace.contracts.normaliser import Normaliser
from millrace.producers.run_watch import SILENT_AFTER, UNSERVED_AFTER, in_progress
from millrace.registry.decisions import declare
from millrace.registry.state import Model, Registry

AT = datetime(2026, 1, 1, tzinfo=UTC)
SPEC = ModelSpec("pumps", ("flow",), 60.0, 32, 8, 8)
SECOND = timedelta(seconds=1)


def run(state: RunState) -> TrainingRun:
    """A run for version 1, in a state since `AT`."""
    request = TrainingRequest("r", SPEC.name, "drift", "", AT, AT)
    return TrainingRun("run", SPEC.name, request, state, AT, version=1)


def model(*, active: bool) -> Model:
    """The registry's view of the model, version 1 approved, and perhaps serving."""
    registry = Registry()
    about: dict[str, Any] = {"model": SPEC.name, "version": 1, "at": AT}
    events = [
        *declare(SPEC, AT),
        Registered(id="1", spec=SPEC, normaliser=Normaliser((0.0,), (1.0,)), **about),
        Approved(id="2", detail="", **about),
        *([Activated(id="3", epoch=2, **about)] if active else []),
    ]
    for event in events:
        registry.apply(event)
    return registry.models[SPEC.name]


@pytest.mark.parametrize(
    ("state", "expected"),
    [("waiting", False), ("started", True), ("approved", True), ("rejected", False)],
)
def test_states(state: RunState, *, expected: bool) -> None:
    """A run counts from its start until it is rejected or its version serves."""
    assert in_progress(run(state), model(active=False), AT + SECOND) is expected
    assert in_progress(run(state), None, AT + SECOND) is expected


def test_a_serving_version_ends_it() -> None:
    """Once the version is active, the replay goes on as before."""
    assert not in_progress(run("approved"), model(active=True), AT + SECOND)


def test_nothing_is_waited_for_for_ever() -> None:
    """A trainer that died, or a version that nobody loads, lets the replay go on."""
    assert not in_progress(run("started"), None, AT + SILENT_AFTER)
    assert not in_progress(run("approved"), model(active=False), AT + UNSERVED_AFTER)
