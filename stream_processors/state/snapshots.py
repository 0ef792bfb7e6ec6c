"""Assets' memory, kept in a Faust table, confirmed before acknowledgement.

The table's changelog is a compacted topic, which Faust reads back when a partition is taken
over. It is written with the other outputs, so that whoever checkpoints can wait for it.

Memory that would not fit into a record of the changelog gives up what its detectors remember, if
that is the most of it; they start afresh after the next start. Else it gives up its oldest open
forecasts, which then have no outcome: that is said, and counted. It happens where a model forecasts
so many steps of so many sensors that a few forecasts have megabytes. Which forecasts those are
depends on when memory is written, so it is not the same again after a crash. What is left then
always fits: see `MOST_MEMORY`.
"""

from __future__ import annotations

from collections.abc import Callable, MutableMapping
from typing import Final, NamedTuple

import structlog

from millrace.contracts.topics import MAX_RECORD_BYTES
from millrace.contracts.wire.sizes import record_size
from millrace.stream_processors.metrics import GIVEN_UP, SPLIT
from millrace.stream_processors.state.asset import Asset

_log = structlog.get_logger(__name__)
#: Bytes of an asset's memory that its record has room for, with three names in its key. Without
#: open forecasts it has less: early predictions are `MOST_VALUES`, and detectors `_MOST_TESTS`.
MOST_MEMORY: Final = MAX_RECORD_BYTES - record_size(bytes(1024), b"", [])
#: Bytes that detectors may remember of an asset where memory is too large: ours on as many sensors
#: as a model may have need some 1 kB each. Others that need more start afresh instead.
_MOST_TESTS: Final = MOST_MEMORY // 2

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
        return [Memory(_encode(key), self._snapshot(key), key[2]) for key in changed]

    def _snapshot(self, key: AssetKey) -> bytes:
        """Encode an asset's memory; one that is too large gives up its tests or forecasts."""
        asset = self._live[key]
        memory, with_tests, given_up = asset.snapshot(), True, 0
        if len(memory) > MOST_MEMORY:
            without = asset.snapshot(with_tests=False)
            if len(memory) - len(without) > _MOST_TESTS:
                memory, with_tests = without, False
                _log.warning(
                    "drift detectors start afresh after the next start: what they remember of the"
                    " asset takes too much of its record; choose others, or smaller windows",
                    model=key[0],
                    asset=key[1],
                )
        while (excess := len(memory) - MOST_MEMORY) > 0:
            dropped = asset.forecasts.give_up_oldest(excess)
            if not dropped:
                break
            given_up += dropped
            memory = asset.snapshot(with_tests=with_tests)
        if given_up:
            GIVEN_UP.inc(given_up)
            _log.warning(
                "forecasts have no outcome: the asset's memory would not fit into its record;"
                " have the model forecast fewer steps or sensors",
                model=key[0],
                asset=key[1],
                forecasts=given_up,
            )
        return memory

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
