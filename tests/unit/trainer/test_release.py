"""When versions are activated, overtaken, rejected and rolled back."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from millrace.contracts.events.model_event import (
    Activated,
    Approved,
    ModelEvent,
    Ready,
    Registered,
    Rejected,
    RolledBack,
    Unloadable,
)
from millrace.contracts.model_spec import ModelSpec
from millrace.contracts.normaliser import Normaliser
from millrace.registry.decisions import declare
from millrace.registry.state import Registry, State
from millrace.trainer.release.decide import GRACE, SILENCE, awaiting, decide, fall_back

T0 = datetime(2026, 1, 1, tzinfo=UTC)
SPEC = ModelSpec("pumps", ("flow",), 60.0, 4, 2, 2)
BOTH = frozenset({"inference-0", "inference-1"})


def registered(version: int) -> Registered:
    """A version comes to be."""
    return Registered(
        id=f"r{version}",
        model="pumps",
        version=version,
        at=T0,
        spec=SPEC,
        normaliser=Normaliser.identity(1),
    )


def approved(version: int) -> Approved:
    """The gate lets it pass."""
    return Approved(id=f"a{version}", model="pumps", version=version, at=T0, detail="better")


def ready(version: int, replica: str) -> Ready:
    """A replica has loaded it."""
    return Ready(id=f"y{version}{replica}", model="pumps", version=version, at=T0, replica=replica)


def unloadable(version: int, replica: str) -> Unloadable:
    """A replica cannot load it."""
    return Unloadable(
        id=f"u{version}{replica}",
        model="pumps",
        version=version,
        at=T0,
        replica=replica,
        detail="altered",
    )


def world(*events: ModelEvent) -> Registry:
    """A declared model with more history."""
    found = Registry()
    for event in (*declare(SPEC, T0), *events):
        found.apply(event)
    return found


def carry_out(registry: Registry, live: frozenset[str], at: datetime = T0) -> list[ModelEvent]:
    """Apply what is decided, as the topic would."""
    found = decide(registry, live, at)
    for event in found:
        assert registry.apply(event)
    return found


def test_a_version_is_activated_when_every_live_replica_is_ready() -> None:
    """One replica that is not ready holds it up; one that is not live does not."""
    registry = world(registered(1), approved(1), ready(1, "inference-0"))
    assert awaiting(registry)
    assert decide(registry, BOTH, T0) == []
    (event,) = carry_out(registry, frozenset({"inference-0"}))
    assert isinstance(event, Activated)
    assert (event.version, event.epoch) == (1, 2)
    assert not awaiting(registry)
    assert decide(registry, BOTH, T0) == []


def test_without_a_live_replica_nothing_is_released() -> None:
    """Nobody could serve it."""
    registry = world(registered(1), approved(1), ready(1, "inference-0"))
    assert decide(registry, frozenset(), T0) == []


def test_what_no_live_replica_can_load_is_rejected_at_once() -> None:
    """It never serves, and the reason is on record."""
    registry = world(
        registered(1), approved(1), unloadable(1, "inference-0"), unloadable(1, "inference-1")
    )
    (event,) = carry_out(registry, BOTH)
    assert isinstance(event, Rejected)
    assert event.detail == "inference-0 cannot load it: altered"
    assert registry.models["pumps"].versions[1].state is State.REJECTED


SECOND = timedelta(seconds=1)


def test_what_one_replica_cannot_load_serves_on_the_others() -> None:
    """It gets time to try again; then its own trouble does not hold up the rest."""
    registry = world(
        registered(1), approved(1), ready(1, "inference-0"), unloadable(1, "inference-1")
    )
    assert decide(registry, BOTH, T0 + GRACE) == []
    later = decide(registry, BOTH, T0 + GRACE + SECOND)
    assert [type(event) for event in later] == [Activated]
    registry.apply(ready(1, "inference-1"))
    assert [type(event) for event in decide(registry, BOTH, T0 + GRACE)] == [Activated]


def test_a_replica_that_says_nothing_holds_a_version_up_for_a_while() -> None:
    """It may be starting, or have no object store; after minutes the others serve without it."""
    registry = world(registered(1), approved(1), ready(1, "inference-0"))
    assert decide(registry, BOTH, T0 + SILENCE) == []
    later = decide(registry, BOTH, T0 + SILENCE + SECOND)
    assert [type(event) for event in later] == [Activated]


def test_a_version_that_no_live_replica_has_ready_waits() -> None:
    """One cannot load it and the other has not said: neither served nor rejected, however long."""
    registry = world(registered(1), approved(1), unloadable(1, "inference-0"))
    assert decide(registry, BOTH, T0 + 10 * SILENCE) == []


def test_a_serving_version_that_one_replica_can_load_serves_on() -> None:
    """A replica's own trouble rolls nobody back; what no live replica can load is."""
    registry = world(
        registered(1),
        approved(1),
        Activated(id="x", model="pumps", version=1, at=T0, epoch=2),
        ready(1, "inference-0"),
        unloadable(1, "inference-1"),
    )
    assert decide(registry, BOTH, T0 + 10 * SILENCE) == []
    registry.apply(unloadable(1, "inference-0"))
    (event,) = carry_out(registry, BOTH)
    assert isinstance(event, RolledBack)
    assert event.version == 0


def test_a_rollback_goes_to_what_some_live_replica_can_load() -> None:
    """A replica that could load nothing does not take away what the others can serve."""
    registry = world(
        *(
            event
            for version in (1, 2)
            for event in (
                registered(version),
                approved(version),
                Activated(id="x", model="pumps", version=version, at=T0, epoch=version + 1),
                unloadable(version, "inference-1"),
            )
        ),
        unloadable(2, "inference-0"),
    )
    assert [event.version for event in carry_out(registry, BOTH)] == [1]
    assert [event.version for event in carry_out(registry, frozenset({"inference-1"}))] == [0]


def test_a_broken_replica_is_not_asked_about_for_ever() -> None:
    """Who is live is asked until one is found that has the version; then nothing depends on it."""
    registry = world(
        registered(1),
        approved(1),
        Activated(id="x", model="pumps", version=1, at=T0, epoch=2),
        ready(1, "inference-0"),
        unloadable(1, "inference-1"),
    )
    assert awaiting(registry)
    assert not awaiting(registry, BOTH)
    assert awaiting(registry, frozenset({"inference-1"}))


def test_the_newest_approved_version_wins_and_the_overtaken_one_never_serves() -> None:
    """The older is kept until the newer has served, then rejected."""
    registry = world(registered(1), approved(1), registered(2), approved(2))
    for version in (1, 2):
        registry.apply(ready(version, "inference-0"))
    live = frozenset({"inference-0"})
    assert [event.version for event in carry_out(registry, live)] == [2]
    (event,) = carry_out(registry, live)
    assert isinstance(event, Rejected)
    assert (event.version, event.detail) == (1, "version 2 overtook it")


def test_an_older_approved_version_serves_if_the_newer_cannot_be_loaded() -> None:
    """It beat the champion, so it is better than none."""
    live = frozenset({"inference-0"})
    registry = world(registered(1), approved(1), registered(2), approved(2))
    registry.apply(ready(1, "inference-0"))
    registry.apply(unloadable(2, "inference-0"))
    assert [(type(e), e.version) for e in carry_out(registry, live)] == [(Rejected, 2)]
    assert [(type(e), e.version) for e in carry_out(registry, live)] == [(Activated, 1)]


def test_a_serving_version_that_cannot_be_loaded_is_rolled_back() -> None:
    """The last good version serves again, under a new epoch."""
    live = frozenset({"inference-0"})
    registry = world(registered(1), approved(1), ready(1, "inference-0"))
    carry_out(registry, live)
    for made in (registered(2), approved(2), ready(2, "inference-0")):
        registry.apply(made)
    carry_out(registry, live)
    registry.apply(unloadable(2, "inference-0"))
    (event,) = carry_out(registry, live)
    assert isinstance(event, RolledBack)
    assert (event.version, event.epoch) == (1, 4)
    assert registry.models["pumps"].champion is registry.models["pumps"].versions[1]
    assert decide(registry, live, T0) == []


def test_persistence_is_never_rolled_back() -> None:
    """There is nothing behind it, and it needs no file."""
    registry = world(unloadable(0, "inference-0"))
    assert decide(registry, frozenset({"inference-0"}), T0) == []


@pytest.mark.parametrize("replica", ["inference-0", "inference-9"])
def test_a_replica_that_is_gone_decides_nothing(replica: str) -> None:
    """What a dead replica once said holds nothing up and undoes nothing."""
    registry = world(registered(1), approved(1), unloadable(1, "inference-9"))
    registry.apply(ready(1, "inference-0"))
    live = frozenset({replica})
    expected = Activated if replica == "inference-0" else Rejected
    assert [type(event) for event in decide(registry, live, T0)] == [expected]


steps = st.lists(
    st.tuples(
        st.sampled_from(["register", "approve", "ready", "unloadable", "decide"]),
        st.integers(1, 4),
        st.sampled_from(["inference-0", "inference-1"]),
        st.sampled_from([frozenset(), frozenset({"inference-0"}), BOTH]),
    ),
    max_size=60,
)


@given(steps)
def test_epochs_grow_and_only_approved_versions_serve(
    story: list[tuple[str, int, str, frozenset[str]]],
) -> None:
    """Whatever happens: decisions apply, epochs grow by one, a rejected version never serves."""
    registry = world()
    model = registry.models["pumps"]
    for kind, version, replica, live in story:
        match kind:
            case "register":
                registry.apply(registered(version))
            case "approve":
                registry.apply(approved(version))
            case "ready":
                registry.apply(ready(version, replica))
            case "unloadable":
                registry.apply(unloadable(version, replica))
            case _:
                assert decide(registry, live, T0) == decide(registry, live, T0)
                carry_out(registry, live)
        epochs = [serving.epoch for serving in model.epochs]
        assert epochs == list(range(1, len(epochs) + 1))
        assert model.champion is not None
        assert model.champion.state is State.ACTIVE


def test_persistence_serves_again_when_the_champion_has_failed() -> None:
    """A new epoch with version 0; asked again, the same event; then there is nothing to undo."""
    registry = world(
        registered(1), approved(1), Activated(id="x", model="pumps", version=1, at=T0, epoch=2)
    )
    model = registry.models["pumps"]
    undone = fall_back(model, 1, "persistence is 9% better", T0)
    assert undone is not None
    assert (undone.version, undone.epoch) == (0, 3)
    assert "version 1 has failed: persistence is 9% better" in undone.detail
    assert fall_back(model, 1, "persistence is 9% better", T0) == undone
    registry.apply(undone)
    assert model.serving is not None
    assert model.serving.version == 0
    assert fall_back(model, 1, "persistence is 9% better", T0) is None


@pytest.mark.parametrize(("judged", "why"), [(1, ""), (0, "worse"), (2, "worse")])
def test_only_what_serves_and_has_failed_is_undone(judged: int, why: str) -> None:
    """Nothing is undone without a finding, nor for persistence, nor for what serves no more."""
    registry = world(
        registered(1), approved(1), Activated(id="x", model="pumps", version=1, at=T0, epoch=2)
    )
    assert fall_back(registry.models["pumps"], judged, why, T0) is None
