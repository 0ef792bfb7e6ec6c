"""Memory is read back in batches: the last record of a key counts."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from millrace.stream_processors.codec.unpacking import FetchedRecord
from millrace.stream_processors.recovery.memory import MemoryTable
from millrace.stream_processors.transport.batching import BatchApp


def table() -> MemoryTable:
    """A table of an app that never connects."""
    app = BatchApp("test", broker="kafka://127.0.0.1:1", store="memory://", web_enabled=False)
    return MemoryTable(app, name="assets", partitions=4, key_type=bytes, value_type=bytes)


def event(records: list[tuple[bytes, bytes | None]], partition: int = 0) -> Any:
    """A message with records of a partition."""
    made = [FetchedRecord(n, 0, 0, key, value, b"") for n, (key, value) in enumerate(records)]
    return SimpleNamespace(message=SimpleNamespace(value=made, partition=partition))


RECORDS = st.lists(
    st.tuples(st.sampled_from([b"a", b"b", b"c"]), st.none() | st.binary(min_size=1, max_size=2))
)


@given(st.lists(RECORDS))
def test_batches_come_to_what_single_records_would(batches: list[Any]) -> None:
    """However the records are cut into messages, and whichever of them delete."""
    expected: dict[bytes, bytes] = {}
    for key, value in (record for batch in batches for record in batch):
        if value is None:
            expected.pop(key, None)
        else:
            expected[key] = value
    made = table()
    made.apply_changelog_batch([event(batch) for batch in batches])
    assert dict(made.data) == expected
    assert made.applied == sum(map(len, batches))


def test_a_message_applied_again_has_no_second_effect() -> None:
    """A rebalance reads a partition from its beginning again."""
    made = table()
    batch = event([(b"a", b"1"), (b"b", b"2"), (b"a", b"3")])
    made.apply_changelog_batch([batch])
    made.apply_changelog_batch([batch, event([])])
    assert dict(made.data) == {b"a": b"3", b"b": b"2"}


def test_the_store_knows_whose_partition_a_memory_is_in() -> None:
    """After recovery it forgets what belongs to other owners."""
    made: Any = table()
    made.apply_changelog_batch([event([(b"a", b"1")], 2), event([(b"b", b"1")], 3)])
    made.apply_changelog_batch([event([(b"b", None)], 3)])
    assert made.data._key_partition == {b"a": 2}
