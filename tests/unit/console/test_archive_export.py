"""An export has a typed column for each field, and a row for each record, readable or not."""

from __future__ import annotations

import csv
import datetime as dt
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any, cast

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from msgspec.structs import replace

from millrace.console.operations.archive.event_columns import event_columns
from millrace.console.operations.archive.export import Exported, archived_topic, export_topic
from millrace.console.operations.archive.export_file import format_of
from millrace.console.operations.archive.reading import TimeSpan, read_records
from millrace.console.operations.archive.topic_rows import rows_of
from millrace.contracts.clock import event_time, to_ms
from millrace.contracts.errors import DataError, SettingsError
from millrace.contracts.events.dead_letter import dead_letter_headers
from millrace.contracts.events.event import JSON, MSGPACK
from millrace.contracts.events.ledger import LedgerEntry
from millrace.contracts.events.model_event import Activated
from millrace.contracts.events.training import TrainingRequest, TrainingRun
from millrace.contracts.events.window import SensorWindow, encode_window, encode_window_json
from millrace.contracts.headers import CONTENT_TYPE, RawHeaders
from millrace.contracts.invalid_record import InvalidRecord
from millrace.contracts.topics import (
    ARCHIVED,
    DEAD_LETTERS,
    MODEL_EVENTS,
    OUTCOMES,
    SENSOR_WINDOWS,
    SERVING_LEDGER,
    TRAINING_RUNS,
    Topic,
)
from millrace.contracts.wire.codec import encode
from millrace.infra.archive.gaps import RETENTION, Gap, note_gap
from millrace.infra.archive.objects import ArchivedObject, Record
from millrace.infra.archive.parquet import encode_records
from millrace.infra.object_store import MissingObjectError, ObjectStore
from tests.unit.trainer.shelf import Shelf

AT = dt.datetime(2026, 12, 1, 12, 0, 0, 250_000, tzinfo=dt.UTC)
MESSAGEPACK: RawHeaders = [(CONTENT_TYPE, MSGPACK.encode())]
ALL = TimeSpan()


def store_of(shelf: Shelf) -> ObjectStore:
    """The shelf as the code under test sees it."""
    return cast("ObjectStore", shelf)


def put(
    shelf: Shelf, topic: Topic, records: Iterable[Record], partition: int = 0, day: int = 0
) -> None:
    """Archive records as one object."""
    kept = list(records)
    date = AT.date() + dt.timedelta(day)
    item = ArchivedObject(topic.name, partition, kept[0].offset, kept[-1].offset, date)
    shelf.put(item.key, encode_records(kept, None, topic))


def event(
    offset: int, value: bytes, at: dt.datetime = AT, headers: RawHeaders | None = None
) -> Record:
    """A record."""
    return Record(offset, to_ms(at), b"key", value, headers or [])


def export(shelf: Shelf, topic: Topic, path: Path, **more: Any) -> Exported:
    """Export all of a topic."""
    return export_topic(store_of(shelf), topic, path, more.pop("span", ALL), **more)


def fence(epoch: int) -> LedgerEntry:
    """A fence."""
    return LedgerEntry("pumps", 3, epoch, 2, 1_000 * epoch, AT)


def test_every_topic_has_columns_of_its_own_names() -> None:
    """No two columns of a topic have a name in common, and each has a type."""
    for topic in ARCHIVED:
        names = rows_of(topic).schema.names
        assert len(set(names)) == len(names), topic.name
        assert names[:3] == ["record_partition", "record_position", "record_timestamp"]
        assert names[-2:] == ["record_problem", "record_value"]


def test_structs_become_columns_and_lists_stay_lists() -> None:
    """Moments are timestamps; a struct's fields have its name before theirs; documents are JSON."""
    kinds = {column.name: column.field.type for column in event_columns(TrainingRun)}
    assert kinds["updated_at"] == pa.timestamp("us", tz="UTC")
    assert kinds["answers"] == pa.list_(pa.string())
    assert (kinds["version"], kinds["seconds"]) == (pa.int64(), pa.float64())
    assert kinds["request_event_time"] == pa.timestamp("us", tz="UTC")
    assert kinds["holdout_challenger"] == pa.float64()
    assert kinds["figures"] == pa.string()
    assert kinds["request_reason"] == pa.string()


def test_events_are_rows_with_the_place_of_their_record(tmp_path: Path) -> None:
    """Values come back as they were, with partition, position and Kafka timestamp."""
    shelf = Shelf()
    put(shelf, SERVING_LEDGER, [event(5, encode(fence(1))), event(9, encode(fence(2)))])
    done = export(shelf, SERVING_LEDGER, tmp_path / "ledger.parquet")
    table = pq.read_table(tmp_path / "ledger.parquet")
    first, second = table.to_pylist()
    assert first == {
        "record_partition": 0,
        "record_position": 5,
        "record_timestamp": AT,
        "model": "pumps",
        "partition": 3,
        "epoch": 1,
        "version": 2,
        "first_offset": 1000,
        "stamped_at": AT,
        "v": 1,
        "record_problem": None,
        "record_value": None,
    }
    assert (second["record_position"], second["epoch"]) == (9, 2)
    assert (done.rows, done.undecoded, done.partitions) == (2, 0, (0,))
    assert (done.oldest, done.newest) == (AT, AT)
    assert done.bytes == (tmp_path / "ledger.parquet").stat().st_size


def test_a_union_of_kinds_has_the_columns_of_all(tmp_path: Path) -> None:
    """Its tag is a column; what a kind lacks is null."""
    shelf = Shelf()
    made = Activated(id="a", model="pumps", version=4, at=AT, epoch=7)
    put(shelf, MODEL_EVENTS, [event(0, encode(made))])
    export(shelf, MODEL_EVENTS, tmp_path / "registry.parquet")
    (row,) = pq.read_table(tmp_path / "registry.parquet").to_pylist()
    assert (row["kind"], row["version"], row["epoch"], row["spec_name"]) == (
        "activated",
        4,
        7,
        None,
    )


def test_a_run_has_its_request_beside_it(tmp_path: Path) -> None:
    """Nested structs that are null have null columns."""
    request = TrainingRequest("q", "pumps", "drift", "it drifted", AT, AT, asset="a", alert_id="x")
    run = TrainingRun("r", "pumps", request, "started", AT, parameters={"seed": 7})
    shelf = Shelf()
    put(shelf, TRAINING_RUNS, [event(0, encode(run))])
    export(shelf, TRAINING_RUNS, tmp_path / "runs.parquet")
    (row,) = pq.read_table(tmp_path / "runs.parquet").to_pylist()
    assert (row["request_id"], row["request_reason"], row["request_asset"]) == ("q", "drift", "a")
    assert (row["holdout_champion"], row["version"]) == (None, None)
    assert json.loads(row["parameters"]) == {"seed": 7}


def window(number: int) -> SensorWindow:
    """Two samples of two sensors, of which one reading is missing."""
    values = np.array([[number, 0.5], [np.nan, -1.0]], "f4")
    return SensorWindow("pump-1", ("flow", "heat"), to_ms(AT), 1.5, values, "run-7")


def test_windows_are_decoded_from_both_encodings(tmp_path: Path) -> None:
    """One row each, its readings a list of rows; a missing one is null."""
    plain: RawHeaders = [(CONTENT_TYPE, JSON.encode())]
    shelf = Shelf()
    records = [
        event(0, encode_window(window(3)), headers=MESSAGEPACK),
        event(1, encode_window_json(window(4)), headers=plain),
    ]
    put(shelf, SENSOR_WINDOWS, records)
    export(shelf, SENSOR_WINDOWS, tmp_path / "windows.parquet")
    rows = pq.read_table(tmp_path / "windows.parquet").to_pylist()
    assert [row["values"] for row in rows] == [
        [[3.0, 0.5], [None, -1.0]],
        [[4.0, 0.5], [None, -1.0]],
    ]
    first = rows[0]
    assert (first["asset"], first["segment"], first["start"]) == ("pump-1", "run-7", AT)
    assert (first["period_seconds"], first["sensors"]) == (1.5, ["flow", "heat"])
    assert first["window_id"] == window(3).id


@pytest.mark.parametrize(
    ("value", "headers", "why"),
    [
        (b"\xff\xfe", MESSAGEPACK, "undecodable"),
        (b"{}", [], "wrong_content_type"),
        (encode_window(replace(window(1), start_ms=10**18)), MESSAGEPACK, "moment"),
    ],
)
def test_a_record_that_cannot_be_decoded_is_a_row_with_its_bytes(
    value: bytes, headers: RawHeaders, why: str, tmp_path: Path
) -> None:
    """It is counted, and nothing of it is lost."""
    shelf = Shelf()
    good = event(0, encode_window(window(3)), headers=MESSAGEPACK)
    put(shelf, SENSOR_WINDOWS, [good, event(1, value, headers=headers)])
    done = export(shelf, SENSOR_WINDOWS, tmp_path / "windows.parquet")
    assert (done.rows, done.undecoded) == (2, 1)
    first, second = pq.read_table(tmp_path / "windows.parquet").to_pylist()
    assert first["record_problem"] is None
    assert (second["asset"], second["record_position"]) == (None, 1)
    assert second["record_value"] == value
    assert why in second["record_problem"]


def test_a_number_that_no_column_holds_is_undecodable(tmp_path: Path) -> None:
    """Foreign JSON may have integers of any size; the rows beside it are as they are."""
    strange = encode(fence(1)).replace(b'"epoch":1', b'"epoch":' + b"9" * 19)
    shelf = Shelf()
    put(shelf, SERVING_LEDGER, [event(0, strange), event(1, encode(fence(2)))])
    done = export(shelf, SERVING_LEDGER, tmp_path / "ledger.parquet")
    rows = pq.read_table(tmp_path / "ledger.parquet").to_pylist()
    assert done.undecoded == sum(row["record_value"] == strange for row in rows) == 1
    assert rows[1]["epoch"] == 2


def test_a_dead_letter_has_its_original_bytes_and_origin(tmp_path: Path) -> None:
    """Key, value and headers are those of the refused record."""
    headers = dead_letter_headers(
        [("n", b"\xff")],
        InvalidRecord("bad_name", "too long"),
        topic="sensor.windows",
        partition=2,
        offset=417,
        timestamp_ms=to_ms(AT),
    )
    shelf = Shelf()
    put(shelf, DEAD_LETTERS, [event(0, b"\x00raw", headers=headers), event(1, b"foreign")])
    done = export(shelf, DEAD_LETTERS, tmp_path / "letters.parquet")
    letter, foreign = pq.read_table(tmp_path / "letters.parquet").to_pylist()
    assert done.undecoded == 0
    assert (letter["key"], letter["value"], letter["reason"]) == (b"key", b"\x00raw", "bad_name")
    origin = (letter["origin_topic"], letter["origin_partition"], letter["origin_offset"])
    assert origin == ("sensor.windows", 2, 417)
    assert letter["origin_timestamp"] == AT
    assert letter["headers"] == [{"name": "n", "value": b"\xff"}]
    assert (foreign["reason"], foreign["origin_offset"]) == (None, None)
    assert foreign["value"] == b"foreign"


def test_csv_has_lists_as_json_bytes_as_base64_and_times_as_text(tmp_path: Path) -> None:
    """Null is an empty cell."""
    shelf = Shelf()
    put(
        shelf,
        SENSOR_WINDOWS,
        [event(0, encode_window(window(3)), headers=MESSAGEPACK), event(1, b"\xff")],
    )
    export(shelf, SENSOR_WINDOWS, tmp_path / "windows.csv")
    with (tmp_path / "windows.csv").open(newline="") as file:
        good, bad = csv.DictReader(file)
    assert json.loads(good["values"]) == [[3.0, 0.5], [None, -1.0]]
    assert json.loads(good["sensors"]) == ["flow", "heat"]
    assert good["start"] == good["record_timestamp"] == "2026-12-01T12:00:00.250000Z"
    assert (good["record_problem"], good["record_value"]) == ("", "")
    assert (bad["asset"], bad["record_value"]) == ("", "/w==")


def test_many_records_are_several_row_groups(tmp_path: Path) -> None:
    """A batch of rows is in memory at a time."""
    shelf = Shelf()
    for first in range(0, 12_000, 4_000):
        put(
            shelf, SERVING_LEDGER, [event(n, encode(fence(n))) for n in range(first, first + 4_000)]
        )
    done = export(shelf, SERVING_LEDGER, tmp_path / "ledger.parquet")
    file = pq.ParquetFile(tmp_path / "ledger.parquet")
    assert (file.metadata.num_rows, file.num_row_groups, done.rows) == (12_000, 3, 12_000)
    positions = file.read().column("record_position").to_pylist()
    assert positions == list(range(12_000))


def days(shelf: Shelf, count: int) -> None:
    """A day is an object with a record every hour, from noon on, four in all."""
    for day in range(count):
        records = [
            event(4 * day + n, encode(fence(n)), AT + dt.timedelta(days=day, hours=n))
            for n in range(4)
        ]
        put(shelf, SERVING_LEDGER, records, day=day)


def test_a_span_of_time_selects_records_and_fetches_few_objects(tmp_path: Path) -> None:
    """By Kafka timestamps; what is elsewhere is not fetched whole."""
    shelf = Shelf()
    days(shelf, 10)
    span = TimeSpan(AT + dt.timedelta(days=4, hours=2), AT + dt.timedelta(days=6, hours=1))
    shelf.fetched.clear()
    done = export(shelf, SERVING_LEDGER, tmp_path / "ledger.parquet", span=span)
    rows = pq.read_table(tmp_path / "ledger.parquet").to_pylist()
    assert [row["record_position"] for row in rows] == [18, 19, 20, 21, 22, 23, 24]
    assert (done.oldest, done.newest) == (span.since, AT + dt.timedelta(days=6))
    assert len([key for key in shelf.fetched if key.endswith(".parquet")]) <= 4


def test_a_record_that_came_late_is_found_by_its_time(tmp_path: Path) -> None:
    """Its object has a later date; a record without a timestamp is in no span."""
    shelf = Shelf()
    days(shelf, 2)
    late = [event(8, encode(fence(1)), AT), Record(9, 0, None, encode(fence(2)), [])]
    put(shelf, SERVING_LEDGER, late, day=40)
    span = TimeSpan(AT, AT + dt.timedelta(hours=1))
    export(shelf, SERVING_LEDGER, tmp_path / "ledger.parquet", span=span)
    rows = pq.read_table(tmp_path / "ledger.parquet").to_pylist()
    assert [row["record_position"] for row in rows] == [0, 8]
    export(shelf, SERVING_LEDGER, tmp_path / "all.parquet")
    assert pq.read_table(tmp_path / "all.parquet").to_pylist()[-1]["record_timestamp"] is None


def test_objects_that_are_merged_meanwhile_are_found_again() -> None:
    """From the next record on; one that is gone for good is an error."""
    shelf = Shelf()
    for number in range(4):
        put(shelf, SERVING_LEDGER, [event(2 * number + n, encode(fence(n))) for n in range(2)])
    found = read_records(store_of(shelf), SERVING_LEDGER.name, 0, ALL)
    seen = [next(found).offset for _ in range(3)]
    merged = [event(n, encode(fence(n))) for n in range(8)]
    shelf.objects_by_key.clear()
    put(shelf, SERVING_LEDGER, merged)
    assert [*seen, *(record.offset for record in found)] == list(range(8))

    class Broken(Shelf):
        def get(self, key: str, *, digest: str | None = None) -> bytes:
            if key.endswith("0007.parquet"):
                raise MissingObjectError(key)
            return super().get(key, digest=digest)

    broken = Broken()
    broken.objects_by_key = shelf.objects_by_key
    with pytest.raises(MissingObjectError):
        list(read_records(store_of(broken), SERVING_LEDGER.name, 0, ALL))


def test_what_is_known_to_be_missing_is_told(tmp_path: Path) -> None:
    """With the partition and the reason."""
    shelf = Shelf()
    put(shelf, OUTCOMES, [event(40, b"{")], partition=1)
    note_gap(store_of(shelf), OUTCOMES.name, 1, Gap(0, 40, RETENTION))
    done = export(shelf, OUTCOMES, tmp_path / "outcomes.csv", partition=1)
    (gap,) = done.missing
    assert (gap.partition, gap.first, gap.until, gap.why) == (1, 0, 40, "retention")


def test_what_cannot_be_exported_says_why(tmp_path: Path) -> None:
    """Topic, partition, name of the file, and a file before stays untouched."""
    shelf = Shelf()
    with pytest.raises(SettingsError, match=r"not archived; choose one of sensor.windows"):
        archived_topic("sensor.windows.normalized")
    with pytest.raises(SettingsError, match=r"\.parquet or \.csv"):
        format_of(tmp_path / "outcomes.xlsx")
    with pytest.raises(DataError, match="nothing of outcomes is archived"):
        export(shelf, OUTCOMES, tmp_path / "outcomes.csv")
    put(shelf, OUTCOMES, [event(0, b"{}")])
    with pytest.raises(SettingsError, match="no partition 7 of outcomes; it has 0"):
        export(shelf, OUTCOMES, tmp_path / "outcomes.csv", partition=7)
    with pytest.raises(SettingsError, match="cannot be written"):
        export(shelf, OUTCOMES, tmp_path / "nowhere" / "outcomes.csv")
    target = tmp_path / "outcomes.csv"
    target.write_text("before")
    (key,) = shelf.objects_by_key
    shelf.objects_by_key[key] = b"damaged"
    with pytest.raises(DataError, match="cannot be read"):
        export(shelf, OUTCOMES, target)
    assert target.read_text() == "before"
    assert list(tmp_path.iterdir()) == [target]


def test_a_topic_without_records_of_a_span_is_an_empty_table(tmp_path: Path) -> None:
    """With its columns, and no moments."""
    shelf = Shelf()
    days(shelf, 1)
    span = TimeSpan(since=event_time(0), until=event_time(1))
    done = export(shelf, SERVING_LEDGER, tmp_path / "ledger.parquet", span=span)
    table = pq.read_table(tmp_path / "ledger.parquet")
    assert (table.num_rows, done.rows, done.oldest) == (0, 0, None)
    assert table.schema.names == rows_of(SERVING_LEDGER).schema.names
