"""Assets' memory, kept in a Faust table, confirmed before acknowledgement.

The table's changelog is a compacted topic, from which Faust recovers when a partition is assigned.
It is written with the other outputs, so that a checkpoint can wait for its confirmation.

Memory that would not fit into a changelog record drops the state of its detectors, if that is most
of it; they start empty after the next restart. Otherwise it drops its oldest open forecasts, which
then have no outcome; this is logged and counted. It happens if a model forecasts so many steps of
so many sensors that a few forecasts take megabytes. Which forecasts are dropped depends on when
memory is written, so it may differ after a crash. The rest always fits: see `MOST_MEMORY`.
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
#: Largest memory of an asset that fits into its record, bytes, with three names in the key. Without
#: open forecasts it is smaller: early predictions are `MOST_VALUES`, detectors `_MOST_TESTS` at
#: most.
MOST_MEMORY: Final = MAX_RECORD_BYTES - record_size(bytes(1024), b"", [])
#: Limit of the detectors' state where memory is too large, bytes. Ours need about 1 kB each, on as
#: many sensors as a model may have. Detectors with more state start empty instead.
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
    """Live assets, and their last written memory in the table."""

    def __init__(self, kept: MutableMapping[bytes, bytes]) -> None:
        """Start from the table's content.

        Args:
            kept: The table's data, as recovered by Faust.
        """
        self._kept = kept
        self._live: dict[AssetKey, Asset] = {}
        self._homes: dict[tuple[str, str], int] = {}
        self._changed: set[AssetKey] = set()

    def asset(self, model: str, name: str, partition: int) -> Asset:
        """Return an asset's memory, and mark it for the next snapshot.

        Offsets are valid only within a partition, and so is the memory. If an asset's records
        arrive in two partitions (two partitioners, or an increased partition count), each has its
        own memory, and no window is mistaken for a redelivery. But a window that is sent to both is
        predicted twice, and a forecast whose truth is in the other partition has no outcome. A
        split asset is therefore logged and counted, if both partitions are assigned to this
        process.

        Args:
            model: The model that serves it.
            name: The asset.
            partition: Partition that its records arrive in.
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
        """Warn of an asset whose records arrive in more than one partition."""
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
        """Encode the memory that changed since the last call, in its present state."""
        changed, self._changed = self._changed, set()
        return [Memory(_encode(key), self._snapshot(key), key[2]) for key in changed]

    def _snapshot(self, key: AssetKey) -> bytes:
        """Encode an asset's memory; if it is too large, drop detector state or forecasts."""
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
        """Write encoded memory into the table and its changelog."""
        for memory in taken:
            self._kept[memory.key] = memory.value
            changelog(memory.key, memory.value, memory.partition)

    def forget(self) -> None:
        """Drop live memory: after a rebalance, the table's content counts."""
        self._live.clear()
        self._homes.clear()
        self._changed.clear()


def _encode(key: AssetKey) -> bytes:
    model, name, partition = key
    return f"{model}\x1f{name}\x1f{partition}".encode()
