"""What the registry's fold refuses, and that it survives whatever can be decoded."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest
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
from millrace.contracts.invalid_record import InvalidRecord
from millrace.contracts.model_spec import PERSISTENCE, ModelSpec
from millrace.contracts.normaliser import Normaliser
from millrace.contracts.wire.codec import EventReader, encode
from millrace.registry.bounds import MAX_LEAP, MAX_VERSION
from millrace.registry.decisions import declare
from millrace.registry.refusals import MAX_REASON, MAX_REFUSALS, unreadable
from millrace.registry.state import Registry, State

AT = datetime(2026, 1, 1, tzinfo=UTC)
SPEC = ModelSpec("pumps", ("flow", "pressure"), 60.0, 32, 8, 8)
UNITS = Normaliser((1.0, 2.0), (2.0, 3.0))
FILES = Artefact("models/pumps/v1-run-1", "0" * 64)
ONE = Normaliser((1.0,), (2.0,))


def registered(version: int = 1, **changes: Any) -> Registered:
    """A good registration of a trained version, changed."""
    good = Registered(
        id=f"registered-{version}",
        model=SPEC.name,
        version=version,
        at=AT,
        spec=SPEC,
        normaliser=UNITS,
        artefact=FILES,
    )
    return msgspec.structs.replace(good, **changes)


def spec(**changes: Any) -> ModelSpec:
    """The model's task, changed; the declared one stays as it is."""
    return msgspec.structs.replace(SPEC, **changes)


def approved(version: int) -> Approved:
    """The gate lets it pass."""
    return Approved(id=f"a{version}", model=SPEC.name, version=version, at=AT, detail="better")


def activated(version: int, epoch: int) -> Activated:
    """It serves from an epoch on."""
    return Activated(id=f"s{epoch}", model=SPEC.name, version=version, at=AT, epoch=epoch)


def declared(*events: ModelEvent) -> Registry:
    """A registry with one model, and more events."""
    registry = Registry()
    for event in (*declare(SPEC, AT), *events):
        registry.apply(event)
    return registry


def other_model(**changes: Any) -> Registered:
    """Version 0 of another model, changed."""
    task = spec(**{"name": "valves", "sensors": ("torque", "angle"), **changes})
    return Registered(
        id="other",
        model=task.name,
        version=PERSISTENCE,
        at=AT,
        spec=task,
        normaliser=Normaliser.identity(len(task.sensors)),
    )


BAD: dict[str, tuple[ModelEvent, str]] = {
    "units too short": (registered(normaliser=ONE), "units of 1 sensors"),
    "other sensors": (registered(spec=spec(sensors=("flow", "level"))), "another task"),
    "other targets": (registered(spec=spec(targets=("flow",))), "another task"),
    "other horizon": (registered(spec=spec(horizon=9)), "another task"),
    "name of another": (registered(model="valves"), "is named 'pumps'"),
    "negative version": (registered(-1), "version -1"),
    "version beyond integers": (registered(1 << 80), "version"),
    "version far ahead": (registered(MAX_LEAP + 1), "the next is 1"),
    "digest of no kind": (registered(artefact=Artefact("models/p", "x" * 900_000)), "digest"),
    "no moment": (registered(at=datetime(1, 1, 1, tzinfo=UTC)), "year 1"),
    "huge window": (other_model(window=10**9), "a window of"),
    "window beyond integers": (other_model(window=10**30), "a window of"),
    "huge horizon": (other_model(horizon=10**30), "forecasts"),
    "endless period": (other_model(period_seconds=1e300), "years"),
    "endless stride": (other_model(stride=10**30), "years"),
    "same sensors as another": (other_model(sensors=SPEC.sensors), "model pumps reads"),
    "model without version 0": (
        msgspec.structs.replace(other_model(), version=1),
        "version 0 is registered first",
    ),
    "persistence with files": (
        msgspec.structs.replace(other_model(), artefact=FILES),
        "version 0 is persistence",
    ),
    "persistence with units": (
        msgspec.structs.replace(other_model(), normaliser=UNITS),
        "version 0 is persistence",
    ),
    "persistence rejected": (
        Rejected(id="r", model="pumps", version=PERSISTENCE, at=AT, detail="no"),
        "version 0 is persistence",
    ),
    "unknown version activated": (activated(7, 2), "no version 7"),
    "epoch far ahead": (activated(0, 1 << 62), "the next is 2"),
    "unknown version ready": (
        Ready(id="y", model="pumps", version=7, at=AT, replica="inference-0"),
        "no version 7",
    ),
}


@pytest.mark.parametrize("name", BAD)
def test_a_bad_event_changes_nothing_and_is_refused_with_its_reason(name: str) -> None:
    """Whatever anybody writes: the models stay as they were, and the reason is kept."""
    event, reason = BAD[name]
    registry, before = declared(), declared()
    assert not registry.apply(event)
    assert registry.models == before.models
    (refusal,) = registry.refusals
    assert reason in refusal.reason
    assert len(refusal.model) <= MAX_REASON
    assert len(refusal.reason) <= MAX_REASON


@pytest.mark.parametrize("name", BAD)
def test_a_bad_event_stops_no_later_one(name: str) -> None:
    """After any refused event a good version is registered, approved and activated as ever."""
    registry = declared(BAD[name][0], registered(1), approved(1), activated(1, 2))
    serving = registry.models["pumps"].serving
    assert serving is not None
    assert (serving.version, serving.epoch) == (1, 2)


def test_a_refused_version_can_never_be_activated() -> None:
    """Approval and activation of a refused version change nothing, and say why."""
    registry = declared(registered(normaliser=ONE), approved(1), activated(1, 2))
    assert list(registry.models["pumps"].versions) == [PERSISTENCE]
    assert [(r.kind, r.version) for r in registry.refusals] == [
        ("registered", 1),
        ("approved", 1),
        ("activated", 1),
    ]
    assert "units of 1 sensors" in registry.refusals[-1].reason


def test_a_refused_number_is_free() -> None:
    """A registration that was refused took no number: a good one of the same number counts."""
    registry = declared(registered(normaliser=ONE), registered(1))
    assert registry.models["pumps"].versions[1].registered == registered(1)


REJECTED = Rejected(id="j", model="pumps", version=1, at=AT, detail="worse")


@pytest.mark.parametrize("event", [registered(1), REJECTED])
def test_what_the_gate_did_not_pass_is_not_activated(event: ModelEvent) -> None:
    """An activation of a version that is not approved, or rejected, is told with its reason."""
    registry = declared(registered(1), event, activated(1, 2))
    (refusal,) = registry.refusals
    assert refusal.reason == (
        "version 1 is rejected: worse" if event is REJECTED else "version 1 is not approved"
    )


def test_a_number_is_not_given_twice() -> None:
    """A second registration with other content is refused; the same content is a repeat."""
    registry = declared(registered(1), registered(1, id="again"))
    assert not registry.refusals
    assert not registry.apply(registered(1, artefact=Artefact("models/pumps/v1-other", "1" * 64)))
    assert "already" in registry.refusals[0].reason
    assert registry.models["pumps"].versions[1].registered == registered(1)


def test_late_and_repeated_events_are_no_refusals() -> None:
    """What at-least-once writers repeat, and epochs that have passed, are not held against them."""
    events: list[ModelEvent] = [registered(1), approved(1), activated(1, 2)]
    registry = declared(*events, *declare(SPEC, AT), *events, activated(0, 1))
    assert not registry.refusals


def test_refusals_are_bounded_and_told_once() -> None:
    """The same refusal is kept once, and only the latest of many."""
    registry = declared(*[registered(normaliser=ONE)] * 3)
    assert len(registry.refusals) == 1
    for version in range(2 * MAX_REFUSALS):
        registry.apply(activated(version + 1, 2))
    assert len(registry.refusals) == MAX_REFUSALS
    assert registry.refusals[-1].version == 2 * MAX_REFUSALS


def test_an_undecodable_event_names_its_model_if_it_can() -> None:
    """Its reason is kept beside those of the fold, cut to a line."""
    value = encode(registered(1)).replace(b'"kind":"registered"', b'"kind":"expelled"')
    try:
        EventReader[ModelEvent](ModelEvent)(value)
    except InvalidRecord as problem:
        found = unreadable(value, str(problem))
    assert (found.model, found.version, found.kind) == ("pumps", 1, "undecodable")
    other = unreadable(b'{"model":"pumps","version":"seven"}', "no number")
    assert (other.model, other.version) == ("pumps", None)
    assert unreadable(b"{", "x" * 10_000).model == ""
    assert len(unreadable(b"{", "x" * 10_000).reason) == MAX_REASON


NAMES = st.sampled_from(["pumps", "valves", "", "a/b", "\x00"])
SENSORS = st.sampled_from([("flow", "pressure"), ("flow",), ("torque", "angle")])
INTS = st.one_of(st.integers(0, 4), st.sampled_from([-1, 1 << 31, 1 << 62, 1 << 64, 10**30]))
SIZES = st.sampled_from([1, 8, 32, 10**6, 10**9, 10**30])
SPECS = st.builds(
    ModelSpec,
    name=st.sampled_from(["pumps", "valves"]),
    sensors=SENSORS,
    period_seconds=st.sampled_from([0.001, 60.0, 1e300]),
    window=SIZES,
    horizon=SIZES,
    stride=SIZES,
    target=st.sampled_from(["mean", "sequence"]),
)
TASKS = st.one_of(st.just(SPEC), SPECS)
MOMENTS = st.sampled_from([AT, datetime(1, 1, 1, tzinfo=UTC), datetime(9999, 12, 31, tzinfo=UTC)])
NORMALISERS = st.sampled_from([UNITS, ONE, Normaliser.identity(2), Normaliser((), ())])
ARTEFACTS = st.sampled_from([None, FILES, Artefact("..", "x"), Artefact("", "")])
SHARED: dict[str, Any] = {"id": NAMES, "model": NAMES, "version": INTS, "at": MOMENTS}
EVENTS: st.SearchStrategy[ModelEvent] = st.one_of(
    st.builds(
        Registered, **SHARED, spec=TASKS, normaliser=NORMALISERS, artefact=ARTEFACTS, run_id=NAMES
    ),
    st.sampled_from([registered(version) for version in (1, 2, 3)]),
    st.builds(Approved, **SHARED, detail=NAMES),
    st.builds(Rejected, **SHARED, detail=NAMES),
    st.builds(Ready, **SHARED, replica=NAMES),
    st.builds(Unloadable, **SHARED, replica=NAMES, detail=NAMES),
    st.builds(Activated, **SHARED, epoch=INTS),
    st.builds(RolledBack, **SHARED, epoch=INTS, detail=NAMES),
)


@given(st.lists(EVENTS, max_size=40), st.sampled_from([[], declare(SPEC, AT)]))
def test_whatever_is_written_every_reader_stands(
    events: list[ModelEvent], before: list[ModelEvent]
) -> None:
    """No sequence raises, and whatever serves has units that fit its model's task."""
    registry = Registry()
    for event in [*before, *events]:
        registry.apply(event)
    sets = [model.spec.sensor_set for model in registry.models.values()]
    assert len(set(sets)) == len(sets)
    for name, model in registry.models.items():
        assert PERSISTENCE in model.versions
        assert model.spec.name == name
        assert (model.spec.window_ms, model.spec.horizon_ms) < (1 << 53, 1 << 53)
        for number, version in model.versions.items():
            assert 0 <= number <= MAX_VERSION
            assert version.registered.spec == model.spec
            assert len(version.registered.normaliser.mean) == len(model.spec.sensors)
        for serving in model.epochs:
            assert model.versions[serving.version].state is not State.REGISTERED
            assert 0 < serving.epoch < 1 << 53
        assert model.last_good_before(max(model.versions), frozenset({"inference-0"})) is not None


@given(st.lists(EVENTS, max_size=20))
def test_all_readers_fold_alike(events: list[ModelEvent]) -> None:
    """Over the wire and back, in a second reader, the same events make the same registry."""
    read = EventReader[ModelEvent](ModelEvent)
    one, two = declared(), declared()
    for event in events:
        one.apply(event)
        try:
            value = encode(event)
        except OverflowError:  # beyond 64 bits: msgspec reads such a number and writes none
            two.apply(event)
            continue
        try:
            two.apply(read(value))
        except InvalidRecord as problem:
            two.refuse(unreadable(value, str(problem)))
    assert one.models == two.models
