"""Other readers of Parquet take a topic's folder as it is: partition and date are columns."""

import datetime as dt
from pathlib import Path

import pandas as pd
import pyarrow.dataset as ds
import pytest

from millrace.contracts.topics import PREDICTIONS
from millrace.infra.archive.gaps import gaps_key
from millrace.infra.archive.index import Index, index_key
from millrace.infra.archive.objects import ROOT, ArchivedObject, Record
from millrace.infra.archive.parquet import START, encode_records, merge_objects

DAY = dt.date(2026, 12, 1)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A topic of two partitions and two days, one of them merged, with index and gaps."""
    for partition in range(2):
        for day in range(2):
            parts = []
            for first in (20 * day, 20 * day + 10):
                records = [
                    Record(n, 1000 * n, b"a", b"%d" % n, [("x", b"1")])
                    for n in range(first, first + 10)
                ]
                data = encode_records(records, first or START, PREDICTIONS)
                parts.append((str(first), data))
            first, last, date = 20 * day, 20 * day + 19, DAY + dt.timedelta(day)
            item = ArchivedObject(PREDICTIONS.name, partition, first, last, date)
            write(tmp_path, item.key, merge_objects(parts))
        write(tmp_path, index_key(PREDICTIONS.name, partition), Index().encode())
        write(tmp_path, gaps_key(PREDICTIONS.name, partition), b'{"gaps":[]}')
    return tmp_path / ROOT / PREDICTIONS.name


def write(home: Path, key: str, data: bytes) -> None:
    """Store an object as a file."""
    path = home / key
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)


def test_pandas_reads_a_topic(folder: Path) -> None:
    """Index and gaps, in the same folders, are not in its way."""
    frame = pd.read_parquet(folder)
    assert list(frame.columns) == [
        *("offset", "timestamp_ms", "key", "value", "headers"),
        *("partition", "date"),
    ]
    assert len(frame) == 80
    assert sorted(frame["partition"].astype(int).unique()) == [0, 1]
    assert sorted(frame["date"].astype(str).unique()) == ["2026-12-01", "2026-12-02"]
    of_a_day = pd.read_parquet(folder, filters=[("date", "=", "2026-12-02"), ("partition", "=", 1)])
    assert sorted(of_a_day["offset"]) == list(range(20, 40))


def test_a_dataset_reads_only_the_folders_of_a_day(folder: Path) -> None:
    """Partition and date are known from the names."""
    found = ds.dataset(folder, partitioning="hive")
    day = ds.field("date") == "2026-12-01"
    assert len(list(found.get_fragments(filter=day))) == 2
    assert found.to_table(filter=day).num_rows == 40
    for fragment in found.get_fragments():
        assert fragment.physical_schema.metadata[b"millrace.topic"] == b"predictions"
        assert fragment.physical_schema.metadata[b"millrace.event"] == b"millrace.prediction.v1"
