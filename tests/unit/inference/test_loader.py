"""What the loader decides: which versions it loads, and which it keeps."""

from millrace.contracts.events.model_event import Rejected
from millrace.inference.serving.loader import KEPT_EPOCHS, _kept, _wanted
from tests.builders import AT, activated, approved, registered, registry_of, rolled_back


def numbers(found: set[tuple[str, int]]) -> set[int]:
    """Version numbers of the pump's versions."""
    assert {model for model, _ in found} <= {"pump"}
    return {version for _, version in found}


def test_an_approved_version_is_wanted_before_it_serves() -> None:
    """Registered is not yet wanted, rejected never is."""
    rejected = Rejected(id="r", model="pump", version=3, at=AT, detail="worse")
    registry = registry_of(registered(1), registered(2), approved(2), registered(3), rejected)
    assert numbers(_wanted(registry)) == {0, 2}


def test_a_retired_version_is_kept_for_a_rollback() -> None:
    """What served in the latest epochs stays loaded, though nothing is stamped with it."""
    events = [e for v in range(1, 7) for e in (registered(v), approved(v), activated(v, v + 1))]
    registry = registry_of(*events)
    assert numbers(_wanted(registry)) == {0, 6}
    assert numbers(_kept(registry)) == {0, *range(6 - KEPT_EPOCHS + 1, 7)}


def test_persistence_is_always_kept() -> None:
    """Version 0 is the last resort of every model."""
    events = [e for v in range(1, 9) for e in (registered(v), approved(v), activated(v, v + 1))]
    assert ("pump", 0) in _kept(registry_of(*events))


def test_the_version_of_a_rollback_is_wanted() -> None:
    """An older version that serves again is wanted like any other that serves."""
    registry = registry_of(
        registered(1),
        approved(1),
        activated(1, 2),
        registered(2),
        approved(2),
        activated(2, 3),
        rolled_back(1, 4),
    )
    assert numbers(_wanted(registry)) == {0, 1}
    assert numbers(_kept(registry)) == {0, 1, 2}
