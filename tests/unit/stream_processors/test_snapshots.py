"""Assets' memory in the table: what is written, when it is confirmed, what is forgotten."""

import asyncio
from typing import Any

import pytest

from stream_processors.asset import Asset
from stream_processors.snapshots import Snapshots

PUMP = b"pump\x1fpump-1\x1f0"


class TableInMemory:
    """A Faust table whose changelog is a list; writes are confirmed when told to."""

    def __init__(self, data: dict[bytes, bytes] | None = None) -> None:
        self.data: dict[bytes, bytes] = dict(data or {})
        self.changelog: list[tuple[int | None, bytes]] = []
        self.pending: list[asyncio.Future[None]] = []

    def send_changelog(self, partition: int | None, key: Any, value: Any) -> Any:
        """Queue a write, which is not confirmed yet."""
        assert self.data[key] == value
        self.changelog.append((partition, key))
        self.pending.append(asyncio.get_running_loop().create_future())
        return self.pending[-1]


def test_only_what_changed_is_written() -> None:
    """Assets that were asked for since the last time are written, each to its partition."""

    async def run() -> None:
        table = TableInMemory()
        snapshots = Snapshots(table)
        snapshots.asset("pump", "pump-1", 2)
        snapshots.asset("pump", "pump-1", 2)
        snapshots.asset("fan", "pump-1", 3)
        snapshots.write()
        snapshots.asset("fan", "pump-1", 3)
        snapshots.write()
        fan = b"fan\x1fpump-1\x1f3"
        assert table.changelog == [(2, b"pump\x1fpump-1\x1f2"), (3, fan), (3, fan)]

    asyncio.run(run())


def test_nothing_is_confirmed_before_the_broker_has_all() -> None:
    """What `write` returns is done when every record of the changelog is delivered."""

    async def run() -> None:
        table = TableInMemory()
        snapshots = Snapshots(table)
        snapshots.asset("pump", "pump-1", 0)
        snapshots.asset("pump", "pump-2", 0)
        written = asyncio.ensure_future(snapshots.write())
        table.pending[0].set_result(None)
        await asyncio.sleep(0)
        assert not written.done()
        table.pending[1].set_result(None)
        await written

    asyncio.run(run())


def test_a_failed_write_is_told() -> None:
    """A changelog that does not take a record raises, so that nothing is acknowledged."""

    async def run() -> None:
        table = TableInMemory()
        snapshots = Snapshots(table)
        snapshots.asset("pump", "pump-1", 0)
        written = snapshots.write()
        table.pending[0].set_exception(ConnectionError("no broker"))
        with pytest.raises(ConnectionError):
            await written

    asyncio.run(run())


def test_what_the_table_holds_counts_after_a_rebalance() -> None:
    """Live memory that was not written is dropped; what was recovered is restored."""
    kept = Asset()
    kept.windows_through = 41
    table = TableInMemory()
    snapshots = Snapshots(table)
    snapshots.asset("pump", "pump-1", 0).windows_through = 50
    table.data[PUMP] = kept.snapshot()
    snapshots.forget()
    assert snapshots.asset("pump", "pump-1", 0).windows_through == 41


def test_an_asset_has_a_memory_in_each_partition() -> None:
    """Offsets of one partition say nothing of another's: no window is taken for a seen one."""
    snapshots = Snapshots(TableInMemory())
    snapshots.asset("pump", "pump-1", 0).windows_through = 50
    assert snapshots.asset("pump", "pump-1", 1).windows_through == -1


def test_a_snapshot_does_not_follow_later_changes() -> None:
    """What was written is the memory of that moment."""

    async def run() -> None:
        table = TableInMemory()
        snapshots = Snapshots(table)
        asset = snapshots.asset("pump", "pump-1", 0)
        asset.windows_through = 1
        snapshots.write()
        asset.windows_through = 2
        assert Asset.restore(table.data[PUMP]).windows_through == 1

    asyncio.run(run())
