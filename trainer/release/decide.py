"""Decides on activations and rollbacks, from the registry and the live replicas.

A version is registered, approved, then *ready* on each live replica, then active. `decide` is pure:
the same registry gives the same events with the same ids.

- Activate the newest approved version once every live replica has it ready. Without a live replica,
  no version is activated.
- A version that no live replica can load is rejected immediately. One that is ready on some
  replicas is activated after a grace period (`GRACE`, or `SILENCE` for replicas without any
  report), so that a local failure, such as a wrong bucket, does not block the others. A replica
  without the version uses its last good one, and publishes an alert (`inference.serving.loader`).
- An approved version that was overtaken by a newer one is kept until the newer one has served, in
  case that one cannot be loaded; then it is rejected, and never serves.
- When the gate finds that persistence is better than the champion, persistence serves again
  (`fall_back`), until a challenger is better.
- When no live replica can load the serving version, the last good one is activated again: a new
  epoch with the older version, since epochs only grow. As long as one replica can load it, it keeps
  serving.
"""

from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Final

from millrace.contracts.events.model_event import Activated, ModelEvent, Rejected, RolledBack
from millrace.contracts.ids import digest_of
from millrace.contracts.model_spec import PERSISTENCE
from millrace.registry.state import Model, Registry, Serving, State, Version

#: How long an approved version that is ready on a replica is held back for replicas that cannot
#: load it, and for those without a report, which may be starting, loading, or unable to reach the
#: object store.
GRACE: Final = timedelta(seconds=30)
SILENCE: Final = timedelta(minutes=5)


def decide(registry: Registry, live: frozenset[str], now: datetime) -> list[ModelEvent]:
    """Decide which events to publish.

    Args:
        registry: All models, versions and serving epochs.
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
    """Decide whether persistence serves again, after the gate found that a champion fails.

    Args:
        model: The model.
        judged: Version that fails.
        why: The gate's reason.
        now: The wall clock, UTC.

    Returns:
        The event to publish; None if that version no longer serves, or is persistence.
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


def awaiting(registry: Registry, live: frozenset[str] = frozenset()) -> bool:
    """Whether any decision depends on which replicas are live.

    Args:
        registry: All models, versions and serving epochs.
        live: Live replicas as of the registry's last change; empty if not queried since. While one
            of them has the serving version, there is no decision about it, even if others can never
            load it.
    """
    return any(
        _candidates(model)
        or (
            model.champion is not None
            and model.champion.unloadable
            and not live & model.champion.ready
        )
        for model in registry.models.values()
    )


def _of_model(
    name: str, model: Model, serving: Serving, live: frozenset[str], now: datetime
) -> Iterator[ModelEvent]:
    if serving.version != PERSISTENCE and model.is_lost(serving.version, live):
        yield _roll_back(name, model, serving, live, now)
        return
    latest = max(epoch.version for epoch in model.epochs)
    candidates = _candidates(model)
    for version in candidates:
        if version.number < latest:
            yield _reject(name, version, f"version {latest} overtook it", now)
    if not live or not candidates or candidates[-1].number < latest:
        return
    newest = candidates[-1]
    if model.is_lost(newest.number, live):
        yield _reject(name, newest, _cannot_load(newest, live), now)
    elif _is_due(newest, live, now):
        yield Activated(
            id="activated-" + digest_of(name, newest.number, serving.epoch + 1),
            model=name,
            version=newest.number,
            at=now,
            epoch=serving.epoch + 1,
        )


def _is_due(version: Version, live: frozenset[str], now: datetime) -> bool:
    """Whether a version is ready on a live replica, and the others' grace periods are over."""
    if not live & version.ready:
        return False
    waited = now - (version.approved_at or now)
    failed = live & version.unloadable.keys()
    silent = live - version.ready - failed
    return (not failed or waited > GRACE) and (not silent or waited > SILENCE)


def _cannot_load(version: Version, live: frozenset[str]) -> str:
    """Reason that no live replica can load a version, as reported by the first of them."""
    replica = min(live)
    return f"{replica} cannot load it: {version.unloadable[replica]}"


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
    name: str, model: Model, serving: Serving, live: frozenset[str], now: datetime
) -> RolledBack:
    good = model.last_good_before(serving.version, live)
    why = _cannot_load(model.versions[serving.version], live)
    return RolledBack(
        id="rolled-back-" + digest_of(name, good, serving.epoch + 1),
        model=name,
        version=good,
        at=now,
        epoch=serving.epoch + 1,
        detail=f"version {serving.version}: {why}",
    )
