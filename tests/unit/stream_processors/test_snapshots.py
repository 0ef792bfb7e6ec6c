"""Assets' memory in the table: what is written, when it is confirmed, what is forgotten."""

from structlog.testing import capture_logs

from millrace.contracts.names import MAX_NAME_BYTES, MAX_SENSORS
from millrace.contracts.topics import MAX_RECORD_BYTES
from millrace.drift.detectors import adwin_lanes, page_hinkley_lanes
from millrace.drift.monitor import AssetMonitor, MonitorState
from millrace.stream_processors.metrics import GIVEN_UP
from millrace.stream_processors.outcomes.forecasts import OpenForecast
from millrace.stream_processors.outcomes.join_task import MOST_VALUES
from millrace.stream_processors.state.asset import Asset
from millrace.stream_processors.state.snapshots import MOST_MEMORY, Snapshots

PUMP = b"pump\x1fpump-1\x1f0"


class ChangelogInMemory:
    """Records of the changelog, in order."""

    def __init__(self) -> None:
        self.written: list[tuple[int, bytes]] = []

    def __call__(self, key: bytes, _: bytes, partition: int) -> None:
        """Take a record."""
        self.written.append((partition, key))


def test_only_what_changed_is_written() -> None:
    """Assets that were asked for since the last time are written, each to its partition."""
    changelog = ChangelogInMemory()
    snapshots = Snapshots({})
    snapshots.asset("pump", "pump-1", 2)
    snapshots.asset("pump", "pump-1", 2)
    snapshots.asset("fan", "pump-1", 3)
    snapshots.write(snapshots.take(), changelog)
    fan = b"fan\x1fpump-1\x1f3"
    assert sorted(changelog.written) == [(2, b"pump\x1fpump-1\x1f2"), (3, fan)]
    snapshots.asset("fan", "pump-1", 3)
    snapshots.write(snapshots.take(), changelog)
    assert changelog.written[2:] == [(3, fan)]


def test_what_is_written_is_kept() -> None:
    """The table holds what the changelog was told."""
    table: dict[bytes, bytes] = {}
    told: dict[bytes, bytes] = {}
    snapshots = Snapshots(table)
    snapshots.asset("pump", "pump-1", 0).windows_through = 7
    snapshots.write(snapshots.take(), lambda key, memory, _: told.update({key: memory}))
    assert table == told
    assert Asset.restore(table[PUMP]).windows_through == 7


def test_what_the_table_holds_counts_after_a_rebalance() -> None:
    """Live memory that was not written is dropped; what was recovered is restored."""
    kept = Asset()
    kept.windows_through = 41
    table: dict[bytes, bytes] = {}
    snapshots = Snapshots(table)
    snapshots.asset("pump", "pump-1", 0).windows_through = 50
    table[PUMP] = kept.snapshot()
    snapshots.forget()
    assert snapshots.asset("pump", "pump-1", 0).windows_through == 41


def test_an_asset_has_a_memory_in_each_partition() -> None:
    """Offsets of one partition say nothing of another's: no window is taken for a seen one."""
    snapshots = Snapshots({})
    snapshots.asset("pump", "pump-1", 0).windows_through = 50
    assert snapshots.asset("pump", "pump-1", 1).windows_through == -1


def test_a_snapshot_does_not_follow_later_changes() -> None:
    """What was written is the memory of that moment."""
    table: dict[bytes, bytes] = {}
    snapshots = Snapshots(table)
    asset = snapshots.asset("pump", "pump-1", 0)
    asset.windows_through = 1
    taken = snapshots.take()
    asset.windows_through = 2
    snapshots.write(taken, ChangelogInMemory())
    assert Asset.restore(table[PUMP]).windows_through == 1


def test_an_asset_in_two_partitions_is_told() -> None:
    """Once for each other partition, by name."""
    snapshots = Snapshots({})
    with capture_logs() as logs:
        for partition in (0, 1, 0, 1):
            snapshots.asset("pump", "pump-1", partition)
        snapshots.asset("pump", "pump-2", 1)
    assert [(log["asset"], log["partitions"]) for log in logs] == [("pump-1", [0, 1])]


def test_memory_that_does_not_fit_gives_up_its_oldest_forecasts() -> None:
    """The newest stay, in the table as live; it is counted, and other assets are as they were."""
    snapshots = Snapshots({})
    snapshots.asset("pump", "pump-2", 0).windows_through = 9
    book = snapshots.asset("pump", "pump-1", 0).forecasts
    truth = bytes(MAX_RECORD_BYTES // 4)
    book.open = [OpenForecast(n, n, n, "", 0, truth=truth) for n in range(6)]
    book.decided = 6
    before = GIVEN_UP._value.get()
    taken = {memory.key: memory.value for memory in snapshots.take()}
    assert all(len(value) <= MOST_MEMORY for value in taken.values())
    kept = Asset.restore(taken[PUMP])
    assert [each.offset for each in kept.forecasts.open] == [3, 4, 5]
    assert [each.offset for each in book.open] == [3, 4, 5]
    assert (kept.forecasts.decided, GIVEN_UP._value.get() - before) == (3, 3)
    assert Asset.restore(taken[b"pump\x1fpump-2\x1f0"]).windows_through == 9


def test_memory_without_forecasts_fits_whatever_it_knows() -> None:
    """Tests on as many sensors as there may be, and as many early values."""
    asset = Asset()
    asset.monitor = AssetMonitor(
        MonitorState(
            memories={
                "input PageHinkley": bytes(8 * page_hinkley_lanes.FIELDS * MAX_SENSORS),
                "input ADWIN": bytes(8 * adwin_lanes.FIELDS * MAX_SENSORS),
            }
        )
    )
    early = 4 * MOST_VALUES + 1024 * 100
    assert len(asset.snapshot()) + early + MAX_NAME_BYTES < MOST_MEMORY


def test_tests_are_given_up_where_nothing_else_makes_memory_fit() -> None:
    """A detector may be chosen that remembers more than a record holds: windows still count."""
    snapshots = Snapshots({})
    asset = snapshots.asset("pump", "pump-1", 0)
    asset.windows_through = 7
    asset.forecasts.open = [OpenForecast(n, n, n, "", 0) for n in range(6)]
    asset.monitor = AssetMonitor(MonitorState(5, 3, {"input Greedy": bytes(MAX_RECORD_BYTES)}))
    (taken,) = snapshots.take()
    kept = Asset.restore(taken.value)
    assert kept.windows_through == 7
    assert kept.monitor.state() == MonitorState(5, 3)
    assert len(kept.forecasts.open) == len(asset.forecasts.open) == 6
