"""Which models have to be declared, and which are refused."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from millrace.contracts.errors import DataError
from millrace.contracts.model_spec import ModelSpec
from millrace.infra.declare import needs_declaration
from millrace.registry.decisions import declare
from millrace.registry.state import Registry

AT = datetime(2025, 1, 1, tzinfo=UTC)
SPEC = ModelSpec("tank", ("level", "flow"), 60.0, window=4, horizon=2, stride=2)


def registry(events: int = 3) -> Registry:
    """A registry that has seen some of the three events of a declaration."""
    made = Registry()
    for event in declare(SPEC, AT)[:events]:
        made.apply(event)
    return made


@pytest.mark.parametrize("events", [0, 1, 2])
def test_a_declaration_that_was_interrupted_is_completed(events: int) -> None:
    """As long as nothing serves; repeating all events then makes it serve."""
    known = registry(events)
    assert needs_declaration(known, SPEC)
    for event in declare(SPEC, AT):
        known.apply(event)
    assert not needs_declaration(known, SPEC)
    serving = known.models[SPEC.name].serving
    assert serving is not None
    assert serving.version == 0


@pytest.mark.parametrize("events", [1, 3])
def test_another_task_under_the_same_name_is_refused(events: int) -> None:
    """Whatever differs is named, even if the sensors are the same."""
    other = ModelSpec("tank", ("level", "flow"), 60.0, window=4, horizon=9, stride=2)
    with pytest.raises(DataError, match="horizon was 2, is 9"):
        needs_declaration(registry(events), other)


def test_a_second_model_of_the_same_sensors_is_refused() -> None:
    """Windows would reach only one of them."""
    other = ModelSpec("basin", ("level", "flow"), 60.0, window=4, horizon=9, stride=1)
    with pytest.raises(DataError, match="model tank reads the same sensors"):
        needs_declaration(registry(), other)
