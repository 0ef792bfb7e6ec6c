"""Assets' memory, kept in a Faust table, confirmed before acknowledgement.

The table's changelog is a compacted topic, which Faust reads back when a partition is taken
over. Faust does not wait for changelog writes; whoever calls `write` does.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from typing import Any, Protocol

from stream_processors.asset import Asset


class Table(Protocol):
    """What is used of a Faust table."""

    data: Any

    def send_changelog(self, partition: int | None, key: Any, value: Any) -> Any:
        """Queue a write of the changelog; the future tells of its delivery."""


class Snapshots:
    """Live assets, and their latest confirmed memory in the table."""

    def __init__(self, table: Table) -> None:
        """Start with what the table holds."""
        self._table = table
        self._live: dict[bytes, Asset] = {}
        self._changed: dict[bytes, int] = {}

    def asset(self, model: str, name: str, partition: int) -> Asset:
        """Find an asset's memory, which will be in the next snapshot.

        Offsets only mean something within a partition. So does the memory: should an asset's
        records ever come in two (two partitioners, or more partitions than before), each
        has its own, and no window is mistaken for one that was seen.

        Args:
            model: The model that serves it.
            name: The asset.
            partition: Partition in which its records come.
        """
        key = f"{model}\x1f{name}\x1f{partition}".encode()
        asset = self._live.get(key)
        if asset is None:
            kept = self._table.data.get(key)
            asset = self._live[key] = Asset() if kept is None else Asset.restore(kept)
        self._changed[key] = partition
        return asset

    def write(self) -> Awaitable[Any]:
        """Write the memory that changed since the last time.

        Returns:
            What to await until the broker has it; it raises if a write failed, and nothing
            that depends on it may be acknowledged then.
        """
        changed, self._changed = self._changed, {}
        futures = []
        for key, partition in changed.items():
            memory = self._live[key].snapshot()
            self._table.data[key] = memory
            futures.append(self._table.send_changelog(partition, key, memory))
        return asyncio.gather(*futures)

    def forget(self) -> None:
        """Drop live memory: what the table holds after a rebalance counts."""
        self._live.clear()
        self._changed.clear()
