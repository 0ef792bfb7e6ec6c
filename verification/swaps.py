"""Start and completion of each swap, from the registry's events and the ledger."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime

import msgspec

from millrace.contracts.events.ledger import LedgerEntry
from millrace.contracts.events.model_event import Activated, Approved, ModelEvent, RolledBack
from millrace.registry.state import Registry
from millrace.verification.fences import fences_of


class SwapTimes(msgspec.Struct, frozen=True):
    """A serving epoch after the first, and its timing.

    Attributes:
        version: Version that serves in it.
        epoch: Its number.
        kind: ``activated`` or ``rolled_back``.
        partitions: First offset by partition.
        approved_at: When the gate approved the version; None for a roll-back.
        activated_at: When the epoch was published.
        stamped_at: When the last partition was stamped; None if none was.
    """

    version: int
    epoch: int
    kind: str
    partitions: dict[int, int]
    approved_at: datetime | None
    activated_at: datetime
    stamped_at: datetime | None

    @property
    def begun_at(self) -> datetime:
        """Time of the approval, or of the roll-back's publication."""
        return self.approved_at or self.activated_at

    @property
    def activation_seconds(self) -> float | None:
        """Seconds from its start until every partition was stamped."""
        if self.stamped_at is None:
            return None
        return (self.stamped_at - self.begun_at).total_seconds()

    @property
    def stamping_seconds(self) -> float | None:
        """Seconds from the activation until every partition was stamped."""
        if self.stamped_at is None:
            return None
        return (self.stamped_at - self.activated_at).total_seconds()


def swaps_of(
    events: Iterable[ModelEvent], ledger: Sequence[LedgerEntry], model: str
) -> list[SwapTimes]:
    """List all swaps of a model, oldest first, without its first epoch, persistence.

    Refused and repeated events give no swap.

    Args:
        events: The registry's events, in their order.
        ledger: All fences.
        model: The model's name.
    """
    approved: dict[int, datetime] = {}
    found: list[SwapTimes] = []
    registry = Registry()
    fences = [fence for entries in fences_of(ledger, model).values() for fence in entries]
    for event in events:
        if not registry.apply(event) or event.model != model:
            continue
        if isinstance(event, Approved):
            approved.setdefault(event.version, event.at)
        if not isinstance(event, Activated | RolledBack):
            continue
        if len(registry.models[model].epochs) == 1:
            continue
        own = [fence for fence in fences if fence.epoch == event.epoch]
        activated = isinstance(event, Activated)
        found.append(
            SwapTimes(
                version=event.version,
                epoch=event.epoch,
                kind="activated" if activated else "rolled_back",
                partitions={fence.partition: fence.first_offset for fence in own},
                approved_at=approved.get(event.version) if activated else None,
                activated_at=event.at,
                stamped_at=max((fence.stamped_at for fence in own), default=None),
            )
        )
    return found
