"""Assets' memory, kept in a Faust table, confirmed before acknowledgement.

The table's changelog is a compacted topic, which Faust reads back when a partition is taken
over. It is written with the other outputs, so that whoever checkpoints can wait for it.
"""

from __future__ import annotations

from collections.abc import Callable, MutableMapping
from typing import NamedTuple

import structlog

from stream_processors.asset import Asset
from stream_processors.metrics import SPLIT

_log = structlog.get_logger(__name__)

AssetKey = tuple[str, str, int]
#: Queues a record of the changelog: its key, the memory, its partition.
Changelog = Callable[[bytes, bytes, int], None]


class Memory(NamedTuple):
    """A record of the changelog."""

    key: bytes
    value: bytes
    partition: int


class Snapshots:
    """Live assets, and their latest written memory in the table."""

    def __init__(self, kept: MutableMapping[bytes, bytes]) -> None:
        """Start with what the table holds.

        Args:
            kept: The table's data, which Faust recovers.
        """
        self._kept = kept
        self._live: dict[AssetKey, Asset] = {}
        self._homes: dict[tuple[str, str], int] = {}
        self._changed: set[AssetKey] = set()

    def asset(self, model: str, name: str, partition: int) -> Asset:
        """Find an asset's memory, which will be in the next snapshot.

        Offsets only mean something within a partition. So does the memory: should an asset's
        records ever come in two (two partitioners, or more partitions than before), each
        has its own, and no window is mistaken for one that was seen; but a window that is sent to
        both is predicted twice, and forecasts have no outcome where its truth is in the other. So
        that is told, as far as both partitions are worked on here.

        Args:
            model: The model that serves it.
            name: The asset.
            partition: Partition in which its records come.
        """
        key = (model, name, partition)
        asset = self._live.get(key)
        if asset is None:
            self._tell_split(model, name, partition)
            memory = self._kept.get(_encode(key))
            asset = self._live[key] = Asset() if memory is None else Asset.restore(memory)
        self._changed.add(key)
        return asset

    def _tell_split(self, model: str, name: str, partition: int) -> None:
        """Tell, once for each, of an asset whose records come in more than one partition."""
        home = self._homes.setdefault((model, name), partition)
        if home != partition:
            SPLIT.labels(model).inc()
            _log.warning(
                "an asset's records come in more than one partition",
                model=model,
                asset=name,
                partitions=sorted((home, partition)),
                mend="have all its producers use one partitioner, murmur2 as Java's does",
            )

    def take(self) -> list[Memory]:
        """Encode the memory that changed since the last time, as it is now."""
        changed, self._changed = self._changed, set()
        return [Memory(_encode(key), self._live[key].snapshot(), key[2]) for key in changed]

    def write(self, taken: list[Memory], changelog: Changelog) -> None:
        """Write memory that was taken, into the table and its changelog."""
        for memory in taken:
            self._kept[memory.key] = memory.value
            changelog(memory.key, memory.value, memory.partition)

    def forget(self) -> None:
        """Drop live memory: what the table holds after a rebalance counts."""
        self._live.clear()
        self._homes.clear()
        self._changed.clear()


def _encode(key: AssetKey) -> bytes:
    model, name, partition = key
    return f"{model}\x1f{name}\x1f{partition}".encode()
