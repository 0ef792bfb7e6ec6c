"""The registry and the live replicas go in; what should be activated or undone comes out.

A version's way: registered, approved, then *ready* on each live replica, then active. Pure,
so calling it again with the same registry gives the same events with the same ids.

- Activate the newest approved version once every live replica has it ready. With no live
  replica there is nothing to wait for and nothing that would serve it, so wait.
- A version that no live replica can load is rejected at once; one that only some can load
  is rejected when they have had time to try again.
- An approved version that a newer one overtook is kept until the newer one has served, in
  case that cannot be loaded; then it is rejected, and never serves.
- When the gate finds that persistence is better than the champion, persistence serves again
  (`fall_back`), until something beats it.
- When a live replica cannot load the version that serves, the last good one is asked for
  again: a new epoch with the older version, since epochs only grow.
"""

from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Final

from contracts.ids import digest_of
from contracts.model_event import Activated, ModelEvent, Rejected, RolledBack
from contracts.registry import PERSISTENCE, Model, Registry, Serving, State, Version

#: How long replicas that cannot load an approved version may try again, while others can.
GRACE: Final = timedelta(seconds=30)


def decide(registry: Registry, live: frozenset[str], now: datetime) -> list[ModelEvent]:
    """Decide what to publish.

    Args:
        registry: What exists and what serves.
        live: Names of the replicas in the inference group.
        now: The wall clock, UTC.
    """
    return [
        event
        for name, model in registry.models.items()
        if model.serving is not None
        for event in _of_model(name, model, model.serving, live, now)
    ]


def fall_back(model: Model, judged: int, why: str, now: datetime) -> RolledBack | None:
    """Decide whether persistence serves again, since a champion was found to fail.

    Args:
        model: The model.
        judged: Version that was found to fail.
        why: What was found.
        now: The wall clock, UTC.

    Returns:
        What to publish; None if that version does not serve any more, or never was trained.
    """
    serving = model.serving
    if not why or serving is None or serving.version != judged or judged == PERSISTENCE:
        return None
    name = model.spec.name
    return RolledBack(
        id="rolled-back-" + digest_of(name, PERSISTENCE, serving.epoch + 1),
        model=name,
        version=PERSISTENCE,
        at=now,
        epoch=serving.epoch + 1,
        detail=f"version {judged} has failed: {why}",
    )


def awaiting(registry: Registry) -> bool:
    """Whether any decision depends on which replicas are live."""
    return any(
        _candidates(model) or (model.champion is not None and model.champion.unloadable)
        for model in registry.models.values()
    )


def _of_model(
    name: str, model: Model, serving: Serving, live: frozenset[str], now: datetime
) -> Iterator[ModelEvent]:
    broken = {r: why for r, why in model.versions[serving.version].unloadable.items() if r in live}
    if broken and serving.version != PERSISTENCE:
        yield _roll_back(name, model, serving, broken, now)
        return
    latest = max(epoch.version for epoch in model.epochs)
    candidates = _candidates(model)
    for version in candidates:
        if version.number < latest:
            yield _reject(name, version, f"version {latest} overtook it", now)
    if not live or not candidates or candidates[-1].number < latest:
        return
    newest = candidates[-1]
    failed = live & newest.unloadable.keys()
    if failed == live or (failed and now - (newest.approved_at or now) > GRACE):
        replica = min(failed)
        why = f"{replica} cannot load it: {newest.unloadable[replica]}"
        yield _reject(name, newest, why, now)
    elif live <= newest.ready:
        yield Activated(
            id="activated-" + digest_of(name, newest.number, serving.epoch + 1),
            model=name,
            version=newest.number,
            at=now,
            epoch=serving.epoch + 1,
        )


def _candidates(model: Model) -> list[Version]:
    """List the approved versions, oldest first."""
    found = [version for version in model.versions.values() if version.state is State.APPROVED]
    return sorted(found, key=lambda version: version.number)


def _reject(name: str, version: Version, why: str, now: datetime) -> Rejected:
    return Rejected(
        id="rejected-" + digest_of(name, version.number, "release"),
        model=name,
        version=version.number,
        at=now,
        detail=why,
    )


def _roll_back(
    name: str, model: Model, serving: Serving, broken: dict[str, str], now: datetime
) -> RolledBack:
    good = model.last_good_before(serving.version)
    replica = min(broken)
    return RolledBack(
        id="rolled-back-" + digest_of(name, good, serving.epoch + 1),
        model=name,
        version=good,
        at=now,
        epoch=serving.epoch + 1,
        detail=f"version {serving.version}: {replica} cannot load it: {broken[replica]}",
    )
