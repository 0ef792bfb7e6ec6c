"""Leader epochs of the record batches that were fetched, where they change.

The consumer's thread reads batches ahead of processing; the event loop handles a change before it
delivers the first record after it.
"""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Hashable
from typing import NamedTuple


class Change(NamedTuple):
    """A record batch with another leader epoch than the one before it.

    Attributes:
        leader_epoch: Its leader epoch.
        first: Its first offset.
    """

    leader_epoch: int
    first: int


class LeaderEpochs:
    """Changes by partition, oldest first; one thread adds, another takes."""

    def __init__(self) -> None:
        """Start with none."""
        self._latest: dict[Hashable, int] = {}
        self._changes: dict[Hashable, deque[Change]] = defaultdict(deque)

    def saw(self, partition: Hashable, leader_epoch: int, first: int) -> None:
        """Record the leader epoch of a batch."""
        if self._latest.get(partition) != leader_epoch:
            self._latest[partition] = leader_epoch
            self._changes[partition].append(Change(leader_epoch, first))

    def upto(self, partition: Hashable, last: int) -> list[Change]:
        """Remove and return the changes up to an offset.

        >>> epochs = LeaderEpochs()
        >>> for first, leader_epoch in ((0, 4), (50, 4), (100, 6)):
        ...     epochs.saw("windows", leader_epoch, first)
        >>> epochs.upto("windows", 99)
        [Change(leader_epoch=4, first=0)]
        >>> epochs.upto("windows", 100)
        [Change(leader_epoch=6, first=100)]
        """
        changes = self._changes[partition]
        found = []
        while changes and changes[0].first <= last:
            found.append(changes.popleft())
        return found
