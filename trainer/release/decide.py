"""The registry and the live replicas go in; what should be activated or undone comes out.

A version's way: registered, approved, then *ready* on each live replica, then active. Pure,
so calling it again with the same registry gives the same events with the same ids.

- Activate the newest approved version once every live replica has it ready. With no live
  replica there is nothing to wait for and nothing that would serve it, so wait.
- A version that no live replica can load is rejected at once. One that some have ready waits
  for the others for a while (`GRACE`, or `SILENCE` for one that says nothing), and serves then:
  a replica's own trouble, as a wrong bucket, does not hold up the rest. A replica without the
  version answers with its last good one, and says so (`inference.serving.loader`).
- An approved version that a newer one overtook is kept until the newer one has served, in
  case that cannot be loaded; then it is rejected, and never serves.
- When the gate finds that persistence is better than the champion, persistence serves again
  (`fall_back`), until something beats it.
- When no live replica can load the version that serves, the last good one is asked for
  again: a new epoch with the older version, since epochs only grow. As long as one can, it
  serves on.
"""

from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Final

from millrace.contracts.events.model_event import Activated, ModelEvent, Rejected, RolledBack
from millrace.contracts.ids import digest_of
from millrace.contracts.model_spec import PERSISTENCE
from millrace.registry.state import Model, Registry, Serving, State, Version

#: How long an approved version that a replica has ready waits for those that cannot load it, and
#: for those that say nothing: they start, load, or cannot reach the object store.
GRACE: Final = timedelta(seconds=30)
SILENCE: Final = timedelta(minutes=5)


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


def awaiting(registry: Registry, live: frozenset[str] = frozenset()) -> bool:
    """Whether any decision depends on which replicas are live.

    Args:
        registry: What exists and what serves.
        live: Replicas that were found to be live since the registry changed last; none if
            nobody has looked. While one of them has the version that serves, nothing is to be
            decided about it, though others may be unable to load it for as long as they live.
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
    """Whether an approved version has waited long enough for the live replicas."""
    if not live & version.ready:
        return False
    waited = now - (version.approved_at or now)
    failed = live & version.unloadable.keys()
    silent = live - version.ready - failed
    return (not failed or waited > GRACE) and (not silent or waited > SILENCE)


def _cannot_load(version: Version, live: frozenset[str]) -> str:
    """Say that no live replica can load a version; the first of them says why."""
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
