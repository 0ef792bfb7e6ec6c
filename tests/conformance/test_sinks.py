"""Every destination of a replay: each result once, whenever a life ends, and nothing of others."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from confluent_kafka import Message

from millrace.contracts.errors import DataError, MillraceError
from millrace.contracts.events.prediction import Prediction
from millrace.contracts.events.topic_epoch import PER_INCARNATION
from millrace.contracts.headers import header
from millrace.contracts.topics import SENSOR_WINDOWS, Topic
from millrace.infra.kafka.clients import admin, ask_admin
from millrace.infra.kafka.log_reader import read_all
from millrace.infra.object_store import ObjectStore
from millrace.infra.settings import Settings
from millrace.infra.topics.admin import create_topics
from millrace.replay.results import REPLAY
from millrace.replay.sinks.opening import open_sink
from millrace.replay.sinks.sink import Batch, Sink, Tally, Written
from tests.unit.replay.made import pipeline, records, run

SCORED = run(pipeline(), records(30))
DESTINATIONS: dict[str, Callable[[Settings, Path], str]] = {
    "file": lambda _, folder: str(folder / "scored.parquet"),
    "objects": lambda settings, _: f"s3://{settings.bucket}/scored/",
    "topic": lambda _, __: "scored",
}
each = pytest.mark.parametrize("kind", DESTINATIONS)


@pytest.fixture
def destination(kind: str, settings: Settings, tmp_path: Path) -> str:
    """A destination that is empty, beside a topic of windows."""
    prepare(settings)
    return DESTINATIONS[kind](settings, tmp_path)


def prepare(settings: Settings) -> None:
    """Create the topic of windows, and the bucket."""
    create_topics(admin(settings), settings, [SENSOR_WINDOWS])
    ObjectStore(settings).create_bucket()


def batches(partition: int = 0, base: int = 0) -> list[Batch]:
    """Three batches of results, whose tallies count up."""
    runs = SCORED.runs
    return [
        Batch(partition, base, base + 10, runs[:1], Tally(12, 10, refused={"undecodable": 2})),
        Batch(partition, base + 10, base + 20, runs[1:2], Tally(24, 20, 1)),
        Batch(partition, base + 20, base + 33, runs[2:], Tally(37, 30, 1, 3)),
    ]


def results(settings: Settings, destination: str, sink: Sink) -> list[tuple[int, str, str]]:
    """Position, window and replay of everything that a destination has."""
    sink.finish()
    if destination.endswith(".parquet"):
        return _rows(pq.ParquetFile(destination).read())
    if destination.startswith("s3://"):
        store = ObjectStore(settings)
        return [
            row
            for each in store.objects("scored/")
            for row in _rows(pq.ParquetFile(pa.BufferReader(store.get(each.key))).read())
        ]
    return [_said(m) for m in read_all(settings, Topic("scored", "", "", "", 0))]


def _rows(table: pa.Table) -> list[tuple[int, str, str]]:
    return [(r["source_offset"], r["window_id"], r["replay"]) for r in table.to_pylist()]


def _said(message: Message) -> tuple[int, str, str]:
    prediction = msgspec.json.decode(message.value() or b"", type=Prediction)
    named = header(list(message.headers() or []), REPLAY) or ""
    return prediction.source.offset, prediction.window_id, named


@each
def test_a_destination_has_each_result_once(settings: Settings, destination: str) -> None:
    """In order, and says how far it is; also to the next life."""
    sink = open_sink(settings, destination, "replay-1")
    assert sink.written(0) == Written()
    for batch in batches():
        sink.write(batch)
        assert open_sink(settings, destination, "replay-1").written(0) == Written(
            batch.until, batch.tally
        )
        sink = open_sink(settings, destination, "replay-1")
        sink.written(0)
    found = results(settings, destination, sink)
    assert [position for position, _, _ in found] == list(range(30))
    assert {replay for _, _, replay in found} == {"replay-1"}
    after = open_sink(settings, destination, "replay-1")
    assert after.written(0) == Written(33, Tally(37, 30, 1, 3))
    assert after.finish() == sink.finish()


@each
def test_partitions_are_told_apart(settings: Settings, destination: str) -> None:
    """Each goes on from its own position."""
    sink = open_sink(settings, destination, "replay-1")
    first, second = batches(0)[0], msgspec.structs.replace(batches(1)[2], first=7)
    for batch in (first, second):
        sink.written(batch.partition)
        sink.write(batch)
    again = open_sink(settings, destination, "replay-1")
    assert [again.written(p).until for p in (0, 1, 2)] == [10, 33, None]


@each
def test_positions_of_a_later_incarnation(settings: Settings, destination: str) -> None:
    """Of a topic that was created anew: they are more than Kafka's offsets."""
    sink = open_sink(settings, destination, "replay-1")
    sink.written(0)
    (batch, *_) = batches(0, 3 * PER_INCARNATION)
    sink.write(batch)
    again = open_sink(settings, destination, "replay-1")
    assert again.written(0).until == 3 * PER_INCARNATION + 10


@each
def test_a_batch_without_results_is_progress(settings: Settings, destination: str) -> None:
    """As of a stretch of bad records."""
    sink = open_sink(settings, destination, "replay-1")
    sink.written(0)
    sink.write(Batch(0, 0, 50, [], Tally(50, refused={"undecodable": 50})))
    assert open_sink(settings, destination, "replay-1").written(0).until == 50
    assert results(settings, destination, sink) == []


@each
def test_results_of_another_replay_are_not_mixed(
    kind: str, settings: Settings, destination: str
) -> None:
    """A topic may have several, told apart by their header; files may not."""
    sink = open_sink(settings, destination, "replay-1")
    sink.written(0)
    for batch in batches():
        sink.write(batch)
    sink.finish()
    if kind == "topic":
        other = open_sink(settings, destination, "replay-2")
        assert other.written(0) == Written()
        other.write(batches()[0])
        found = results(settings, destination, other)
        assert [replay for _, _, replay in found].count("replay-2") == 10
        assert len(found) == 40
    else:
        with pytest.raises(DataError, match="no result of"):
            open_sink(settings, destination, "replay-2").written(0)


def test_an_earlier_process_is_fenced(settings: Settings) -> None:
    """It cannot write to a topic any more once another one goes on."""
    prepare(settings)
    old, new = (open_sink(settings, "scored", "replay-1") for _ in range(2))
    old.written(0)
    old.write(batches()[0])
    assert new.written(0).until == 10
    with pytest.raises(MillraceError, match="another process"):
        old.write(batches()[1])
    new.write(batches()[1])
    found = results(settings, "scored", new)
    assert [position for position, _, _ in found] == list(range(20))


def test_expired_progress_is_no_fresh_start(settings: Settings) -> None:
    """A topic that has results of a replay, whose group is gone, is not written again."""
    prepare(settings)
    sink = open_sink(settings, "scored", "replay-1")
    sink.written(0)
    sink.write(batches()[0])
    group = settings.named("millrace.replay-1")
    ask_admin(
        settings, lambda a: [one.result(30) for one in a.delete_consumer_groups([group]).values()]
    )
    with pytest.raises(DataError, match="expired"):
        open_sink(settings, "scored", "replay-1").written(0)
