"""The versions that a user names."""

import pytest

from millrace.contracts.errors import SettingsError
from millrace.registry.state import Registry
from millrace.replay.plan import AS_SERVED, Choice
from millrace.replay.versions import ACTIVE, choose
from tests.builders import pump_spec, registry_of
from tests.unit.replay.made import REGISTRY


def test_what_can_be_named() -> None:
    """As served, what serves now, a number, a model and its number."""
    assert choose(AS_SERVED, REGISTRY) == []
    assert choose(ACTIVE, REGISTRY) == [Choice("pump", 2, 3)]
    assert choose("1", REGISTRY) == choose("pump@1", REGISTRY) == [Choice("pump", 1, 2)]


@pytest.mark.parametrize(
    ("named", "told"),
    [("9", "it has 0, 1, 2"), ("newest", "MODEL@NUMBER"), ("fan@1", "a model of pump"), ("", "@")],
)
def test_what_cannot_be_named(named: str, told: str) -> None:
    """The error says what can be."""
    with pytest.raises(SettingsError, match=told):
        choose(named, REGISTRY)


def test_a_number_needs_a_model_where_there_are_several() -> None:
    """The error names them."""
    both = registry_of(specs=[pump_spec(), pump_spec("fan", window=12)])
    with pytest.raises(SettingsError, match="fan@0, pump@0"):
        choose("0", both)


def test_without_models_nothing_can_be_named() -> None:
    """The error says how to declare one."""
    with pytest.raises(SettingsError, match="models declare"):
        choose(ACTIVE, Registry())
