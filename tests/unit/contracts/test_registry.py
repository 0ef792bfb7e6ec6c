"""The registry's fold: repeats change nothing, epochs grow, the rejected never serve."""

from copy import deepcopy
from datetime import UTC, datetime

from hypothesis import given
from hypothesis import strategies as st

from millrace.contracts.events.model_event import (
    Activated,
    Approved,
    Artefact,
    ModelEvent,
    Ready,
    Registered,
    Rejected,
    RolledBack,
    Unloadable,
)
from millrace.contracts.model_spec import PERSISTENCE, ModelSpec
from millrace.contracts.normaliser import Normaliser
from millrace.registry.decisions import declare
from millrace.registry.state import Registry, State

AT = datetime(2026, 1, 1, tzinfo=UTC)
SPEC = ModelSpec("pumps", ("flow",), 60.0, 32, 8, 8)


def registered(version: int) -> Registered:
    """A trained version comes into being."""
    return Registered(
        id=f"registered-{version}",
        model=SPEC.name,
        version=version,
        at=AT,
        spec=SPEC,
        normaliser=Normaliser((1.0,), (2.0,)),
        artefact=Artefact(f"models/pumps/v{version}", "0" * 64),
    )


def approved(version: int) -> Approved:
    """The gate lets it pass."""
    return Approved(id=f"approved-{version}", model=SPEC.name, version=version, at=AT, detail="ok")


def rejected(version: int) -> Rejected:
    """The gate holds it back."""
    return Rejected(id=f"rejected-{version}", model=SPEC.name, version=version, at=AT, detail="no")


def activated(version: int, epoch: int) -> Activated:
    """It serves from an epoch on."""
    return Activated(
        id=f"activated-{version}-{epoch}", model=SPEC.name, version=version, at=AT, epoch=epoch
    )


def rolled_back(version: int, epoch: int) -> RolledBack:
    """It serves again."""
    return RolledBack(
        id=f"back-{version}-{epoch}",
        model=SPEC.name,
        version=version,
        at=AT,
        epoch=epoch,
        detail="worse",
    )


def ready(version: int, replica: str = "inference-0") -> Ready:
    """A replica has it."""
    return Ready(
        id=f"ready-{version}-{replica}", model=SPEC.name, version=version, at=AT, replica=replica
    )


def unloadable(version: int, replica: str = "inference-0") -> Unloadable:
    """A replica cannot load it."""
    return Unloadable(
        id=f"bad-{version}-{replica}",
        model=SPEC.name,
        version=version,
        at=AT,
        replica=replica,
        detail="digest differs",
    )


def fold(events: list[ModelEvent]) -> Registry:
    """Fold events after the declaration."""
    registry = Registry()
    for event in [*declare(SPEC, AT), *events]:
        registry.apply(event)
    return registry


VERSIONS = st.integers(0, 3)
EVENTS: st.SearchStrategy[ModelEvent] = st.one_of(
    st.builds(registered, VERSIONS),
    st.builds(approved, VERSIONS),
    st.builds(rejected, VERSIONS),
    st.builds(ready, VERSIONS),
    st.builds(unloadable, VERSIONS),
    st.builds(activated, VERSIONS, st.integers(1, 6)),
    st.builds(rolled_back, VERSIONS, st.integers(1, 6)),
)


def test_persistence_serves_from_the_declaration_on() -> None:
    """Version 0 is approved and active before anything was trained."""
    model = fold([]).models["pumps"]
    assert model.serving is not None
    assert (model.serving.epoch, model.serving.version) == (1, PERSISTENCE)
    assert model.champion is not None
    assert model.champion.state is State.ACTIVE


def test_declaring_twice_changes_nothing() -> None:
    """Two edges that declare the same model at once make one model."""
    registry = Registry()
    assert [registry.apply(event) for event in declare(SPEC, AT)] == [True] * 3
    assert [registry.apply(event) for event in declare(SPEC, AT)] == [False] * 3


def test_life_of_a_version() -> None:
    """Registered, approved, active, retired by the next, and active again by a rollback."""
    registry = fold([registered(1)])
    version = registry.models["pumps"].versions[1]
    states = []
    for event in (
        approved(1),
        ready(1),
        activated(1, 2),
        registered(2),
        approved(2),
        activated(2, 3),
        rolled_back(1, 4),
    ):
        assert registry.apply(event)
        states.append(version.state)
    assert [state.value for state in states] == [
        "approved",
        "approved",
        "active",
        "active",
        "active",
        "retired",
        "active",
    ]
    assert version.ready == {"inference-0"}


@given(st.lists(EVENTS, max_size=30))
def test_repeating_an_event_changes_nothing(events: list[ModelEvent]) -> None:
    """At-least-once writers may repeat any event at once: the fold is the same."""
    registry = Registry()
    for event in [*declare(SPEC, AT), *events]:
        registry.apply(event)
        assert not registry.apply(event)


@given(st.lists(EVENTS, max_size=30))
def test_late_repeats_change_nothing(events: list[ModelEvent]) -> None:
    """All that had an effect, told once more from the beginning, leaves all as it was."""
    registry = fold([])
    effective = [event for event in events if registry.apply(event)]
    before = deepcopy(registry.models)
    for event in [*declare(SPEC, AT), *effective]:
        registry.apply(event)
    assert registry.models == before


@given(st.lists(EVENTS, max_size=30))
def test_epochs_only_grow(events: list[ModelEvent]) -> None:
    """Late and repeated activations never bring an older epoch back."""
    epochs = [serving.epoch for serving in fold(events).models["pumps"].epochs]
    assert epochs == sorted(set(epochs))


@given(st.lists(EVENTS, max_size=30))
def test_what_the_gate_did_not_pass_never_serves(events: list[ModelEvent]) -> None:
    """Whatever comes in whatever order, only approved versions are ever activated."""
    passed: set[int] = {PERSISTENCE}
    held: set[int] = set()
    registry = fold([])
    for event in events:
        changed = registry.apply(event)
        if isinstance(event, Approved) and changed:
            passed.add(event.version)
        if isinstance(event, Rejected) and changed:
            held.add(event.version)
        if isinstance(event, Activated | RolledBack) and changed:
            assert event.version in passed - held


@given(st.lists(EVENTS, max_size=30))
def test_exactly_one_version_is_active(events: list[ModelEvent]) -> None:
    """The active version is the one of the latest epoch."""
    model = fold(events).models["pumps"]
    active = [number for number, v in model.versions.items() if v.state is State.ACTIVE]
    assert model.serving is not None
    assert active == [model.serving.version]


def test_fall_back_skips_what_cannot_be_loaded() -> None:
    """The last good version before a broken one is not another broken one."""
    registry = fold(
        [
            *(e for v in (1, 2, 3) for e in (registered(v), approved(v), activated(v, v + 1))),
            unloadable(2),
            unloadable(3),
        ]
    )
    assert registry.models["pumps"].last_good_before(3, frozenset({"inference-0"})) == 1


def test_models_are_found_by_what_they_read() -> None:
    """A sensor set leads to its model, and an unknown one to none."""
    registry = fold([])
    assert registry.by_sensor_set(SPEC.sensor_set) is registry.models["pumps"]
    assert registry.by_sensor_set("no such") is None
