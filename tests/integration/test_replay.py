"""Replays on real servers: a small story, as served, killed, and beside the live system."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from confluent_kafka import TopicPartition

from millrace.archiver.settings import ArchiverSettings
from millrace.console.operations.compare import compare_versions
from millrace.console.operations.lags import lag_lines
from millrace.console.operations.replay import (
    Planned,
    Replayed,
    Request,
    plan_replay,
    run_replay,
    run_verification,
)
from millrace.console.operations.score import score_dataset
from millrace.console.operations.what_if import other_detectors
from millrace.contracts.clock import event_time, now
from millrace.contracts.errors import DataError, MillraceError, SettingsError
from millrace.contracts.events.model_event import Activated
from millrace.contracts.events.prediction import Prediction
from millrace.contracts.headers import header
from millrace.contracts.topics import (
    DEAD_LETTERS,
    DRIFT_ALERTS,
    OUTCOMES,
    PREDICTIONS,
    SENSOR_WINDOWS,
    TOPICS,
    TRAINING_REQUESTS,
    Topic,
)
from millrace.contracts.wire.codec import EventReader
from millrace.contracts.wire.groups import ARCHIVER, INFERENCE, STREAM_PROCESSOR
from millrace.infra import embedded
from millrace.infra.archive.catalogue import Catalogue
from millrace.infra.declare import declare_model
from millrace.infra.kafka.clients import admin, ask_admin, partitions_of, reader, watermarks
from millrace.infra.kafka.log_reader import read_all
from millrace.infra.kafka.publisher import Publisher
from millrace.infra.local.waiting import wait_until
from millrace.infra.object_store import ObjectStore
from millrace.infra.settings import Settings
from millrace.infra.topics.admin import create_topics
from millrace.model_families.artefact import publish
from millrace.replay.results import REPLAY
from millrace.replay.verify import Comparison
from tests.faults.harness.source import SPEC, Source
from tests.faults.harness.versions import approved, packed, registered
from tests.integration.observing import Observer, Service, archiver
from tests.places import settings_at

pytestmark = pytest.mark.timeout(300)
SECONDS = 120.0
#: Records of a batch of results: a small story has several for each partition.
BATCH = 64
#: Detectors that find something in noise.
SENSITIVE = "PageHinkley(threshold=2, min_instances=8)"
read_prediction = EventReader[Prediction](Prediction)


class Story:
    """A model of which three versions served one after the other, with bad and repeated windows.

    Attributes:
        settings: Where it is.
        published: Its predictions, by partition and offset of their windows.
        repeated: Number of windows that were sent twice.
    """

    def __init__(self, settings: Settings, folder: Path) -> None:
        self.settings = settings
        self.folder = folder
        self.store = ObjectStore(settings)
        self.published: dict[tuple[int, int], Prediction] = {}
        self.repeated = 0

    def tell(self) -> None:
        """Send windows to the real services, and let versions 1 and 2 take over."""
        create_topics(admin(self.settings), self.settings)
        self.store.create_bucket()
        declare_model(self.settings, SPEC, "/test")
        source = Source(self.settings, seed=20, copies=1)
        services = [
            Service(f"millrace.{name}", self.settings, self.folder)
            for name in ("stream_processors", "inference")
        ]
        archive = archiver(
            self.settings, ArchiverSettings(max_records=90, max_seconds=0.5), self.folder
        )
        archive.start()
        observer = Observer(self.settings, [PREDICTIONS, DEAD_LETTERS], services)
        try:
            for version in range(3):
                if version:
                    self._activate(version)
                source.send(240)
                for record in source.sent[-5:]:  # as an edge does whose confirmation was lost
                    source.again(record)
                    self.repeated += record.window is not None
                source.flush()
                bad = sum(1 for each in source.sent if each.window is None)
                self._await(observer, 240 * (version + 1), bad)
            made = observer.events(PREDICTIONS, read_prediction)
            self.published = {(p.source.partition, p.source.offset): p for p in made}
            assert {p.version for p in made} == {0, 1, 2}
            wait_until(self.is_worked_off, "all to rest", seconds=SECONDS, meanwhile=archive.check)
            wait_until(self.is_archived, "the archive", seconds=SECONDS, meanwhile=archive.check)
        finally:
            observer.close()
            for service in services:
                service.stop()
            archive.stop()

    def _await(self, observer: Observer, predictions: int, letters: int) -> None:
        """Wait until so many windows are predicted, and so many records refused."""
        observer.until(
            lambda: (
                observer.count(PREDICTIONS) >= predictions
                and observer.count(DEAD_LETTERS) >= letters
            ),
            SECONDS,
            f"{predictions} predictions",
        )

    def is_worked_off(self) -> bool:
        """Whether all groups have committed everything."""
        return not any(line.records for line in lag_lines(self.settings))

    def is_archived(self) -> bool:
        """Whether the archive has every record of windows and predictions."""
        return self._count(SENSOR_WINDOWS) == sum(
            1 for _ in read_all(self.settings, SENSOR_WINDOWS)
        ) and self._count(PREDICTIONS) == len(self.published)

    def _count(self, topic: Topic) -> int:
        client = reader(self.settings)
        try:
            partitions = partitions_of(client, self.settings.named(topic.name))
        finally:
            client.close()
        catalogue = Catalogue(self.store)
        return sum(
            pq.ParquetFile(pa.BufferReader(self.store.get(item.key))).metadata.num_rows
            for partition in partitions
            for item in catalogue.refresh(topic.name, partition)
        )

    def _activate(self, version: int) -> None:
        publisher = Publisher(self.settings, "/test")
        artefact = publish(self.store, packed(SPEC, version))
        publisher.send(registered(SPEC, version, artefact))
        publisher.send(approved(SPEC, version))
        publisher.send(
            Activated(
                id=f"activated-{version}",
                model=SPEC.name,
                version=version,
                at=now(),
                epoch=version + 1,
            )
        )


@pytest.fixture(scope="module")
def story(servers: embedded.Endpoints, tmp_path_factory: pytest.TempPathFactory) -> Story:
    """A story that has been told; replays change nothing of it."""
    folder = tmp_path_factory.mktemp("story")
    settings = settings_at(
        servers,
        folder / "var",
        "test-replay",
        kafka_partitions=2,
        input_detectors=SENSITIVE,
        error_detectors=SENSITIVE,
        skill_detectors=SENSITIVE,
    )
    made = Story(settings, folder)
    made.tell()
    return made


def verify(story: Story, request: Request | None = None) -> Comparison:
    """Compare the story's windows with what was published."""
    planned = plan_replay(story.settings, request or Request(), None)
    found = run_verification(story.settings, planned, lambda *_: None, processes=2, idle=False)
    return sum(found.values(), Comparison())


def replay(story: Story, planned: Planned, fault: str = "") -> Replayed:
    """Run a replay, with a fault of its workers."""
    marks = story.folder / "marks" / planned.plan.id
    marks.mkdir(parents=True, exist_ok=True)
    settings = story.settings.model_copy(update={"fault": fault, "fault_marks": marks})
    return run_replay(settings, planned, lambda *_: None, processes=1, idle=False, batch=BATCH)


def replayed(path: Path) -> dict[tuple[int, int], list[list[float]]]:
    """Forecasts in a file, by partition and offset of their windows; each is there once."""
    rows = pq.ParquetFile(path).read().to_pylist()
    found = {(r["source_partition"], r["source_offset"]): r["forecast"] for r in rows}
    assert len(found) == len(rows)
    return found


def test_everything_that_was_published_is_replayed_bit_by_bit(story: Story) -> None:
    """Over three versions, with refused and repeated windows between."""
    found = verify(story)
    assert found.findings == ()
    assert (found.equal, found.different, found.missing, found.extra) == (
        len(story.published),
        0,
        0,
        0,
    )
    assert found.repeated == story.repeated > 0
    assert found.refused > 0


def test_a_replay_that_is_killed_goes_on(story: Story, tmp_path: Path) -> None:
    """At every point between two batches; the file has each window once, and the same bits."""
    path = tmp_path / "again.parquet"
    planned = plan_replay(story.settings, Request(), str(path))
    for fault in (
        "replay.after-output@1=kill",
        "replay.before-output@2=kill",
        "replay.after-output@3=kill",
    ):
        with pytest.raises(DataError, match="status -9"):
            replay(story, planned, fault)
        assert not path.exists()
    done = replay(story, planned)
    found = replayed(path)
    assert found.keys() == story.published.keys()
    assert all(forecast == story.published[at].forecast for at, forecast in found.items())
    assert done.tally.predicted == len(found)
    assert done.tally.records == sum(1 for _ in read_all(story.settings, SENSOR_WINDOWS))
    assert replay(story, planned).tally == done.tally
    assert list(tmp_path.iterdir()) == [path]


def test_a_topic_gets_each_window_once(story: Story) -> None:
    """Killed before and after a commit; live topics and groups are as they were."""
    before = _live(story.settings)
    planned = plan_replay(story.settings, Request(), "predictions.again")
    for fault in (
        "replay.before-output@2=kill",
        "replay.after-output@1=kill",
        "replay.after-output@2=kill",
    ):
        with pytest.raises(DataError, match="status -9"):
            replay(story, planned, fault)
    done = replay(story, planned)
    topic = Topic("predictions.again", "", "", "", 0)
    messages = list(read_all(story.settings, topic))
    made = [(read_prediction(m.value() or b""), list(m.headers() or [])) for m in messages]
    places = Counter((p.source.partition, p.source.offset) for p, _ in made)
    assert places == Counter(story.published.keys())
    for prediction, headers in made:
        live = story.published[prediction.source.partition, prediction.source.offset]
        assert prediction == msgspec.structs.replace(
            live, predicted_at=prediction.predicted_at, latency_ms=prediction.latency_ms
        )
        assert header(headers, REPLAY) == planned.plan.id
    assert done.tally.predicted == len(messages)
    assert _live(story.settings) == before


def test_a_named_version_for_some_assets(story: Story, tmp_path: Path) -> None:
    """All of their windows run on it, whatever served them."""
    path = tmp_path / "two.parquet"
    planned = plan_replay(
        story.settings, Request(assets=("pump-1", "pump-3"), model="2"), str(path)
    )
    done = replay(story, planned)
    rows = pq.ParquetFile(path).read().to_pylist()
    wanted = [p for p in story.published.values() if p.asset in {"pump-1", "pump-3"}]
    assert len(rows) == len(wanted) == done.tally.predicted
    assert {(r["asset"], r["version"], r["epoch"]) for r in rows} == {
        ("pump-1", 2, 3),
        ("pump-3", 2, 3),
    }
    tally = done.tally
    refused = sum(tally.refused.values())
    assert tally.records == tally.predicted + tally.repeated + tally.others + refused


def test_objects_in_the_store(story: Story) -> None:
    """One for each batch, under the prefix."""
    bucket = story.settings.bucket
    planned = plan_replay(story.settings, Request(model="active"), f"s3://{bucket}/backfill/one")
    replay(story, planned)
    keys = [each.key for each in story.store.objects("backfill/one/")]
    rows = [
        row
        for key in keys
        for row in pq.ParquetFile(pa.BufferReader(story.store.get(key))).read().to_pylist()
    ]
    assert len(keys) > 2
    assert {(r["source_partition"], r["source_offset"]) for r in rows} == story.published.keys()
    assert len(rows) == len(story.published)


@pytest.mark.parametrize(
    ("request_", "destination", "told"),
    [
        (Request(offsets={9: (0, 5)}), "again", "partitions 0 to 1"),
        (Request(model="7"), "again", "it has 0, 1, 2"),
        (Request(), "no/topic", "neither a topic"),
        (Request(), "nowhere/x.parquet", "no folder"),
        (Request(), "s3://", "bucket and a prefix"),
        (Request(arrived_until=now().replace(year=2001)), "again", "no window arrived"),
    ],
)
def test_a_request_that_makes_no_sense(
    story: Story, request_: Request, destination: str, told: str
) -> None:
    """The error says what is wrong, before anything is written."""
    with pytest.raises(SettingsError, match=told):
        plan_replay(story.settings, request_, destination)


@pytest.mark.parametrize("name", ["predictions", "sensor.windows", "__consumer_offsets"])
def test_a_topic_of_the_system_is_no_destination(story: Story, name: str) -> None:
    """Nothing is written to it."""
    planned = plan_replay(story.settings, Request(), name)
    with pytest.raises(SettingsError, match="topic of the running system"):
        replay(story, planned)


def test_a_file_of_something_else_is_left_alone(story: Story, tmp_path: Path) -> None:
    """It is neither replaced nor removed."""
    path = tmp_path / "mine.parquet"
    path.write_bytes(b"mine")
    with pytest.raises(MillraceError, match="is there"):
        replay(story, plan_replay(story.settings, Request(), str(path)))
    assert path.read_bytes() == b"mine"


def test_the_same_detectors_find_the_same(story: Story) -> None:
    """Every alert that was published, and no other one; less sensitive ones find less."""
    nothing = {"inputs": None, "error": None, "skill": None}
    same = other_detectors(story.settings, Request(), lambda *_: None, **nothing)
    assert len(same.published) > 20
    assert {a.signal for a in same.published} >= {"input", "error"}
    assert {a.id for a in same.found} == {a.id for a in same.published}
    deaf = other_detectors(
        story.settings, Request(), lambda *_: None, **nothing | {"inputs": "PageHinkley"}
    )
    assert not [a for a in deaf.found if a.signal == "input"]
    assert deaf.published == same.published


def test_two_versions_are_compared_on_the_same_windows(story: Story) -> None:
    """All windows whose truth is known count; a version is as good as itself."""
    outcomes = list(read_all(story.settings, OUTCOMES))
    found = compare_versions(story.settings, "1", "2", Request(), lambda *_: None)
    assert found.all.windows == len({m.value() for m in outcomes}) > 600
    assert found.all.windows + found.unjudged == len(story.published)
    assert sum(each.windows for each in found.assets.values()) == found.all.windows
    assert found.all.a != found.all.b
    same = compare_versions(story.settings, "persistence", "pump@0", Request(), lambda *_: None)
    assert (same.all.improvement, same.all.a) == (0.0, same.all.persistence)


def test_a_recording_is_scored(story: Story, tmp_path: Path) -> None:
    """The same windows have the same forecasts as live, under ids of their own."""
    wanted = {p.window_id: p for p in story.published.values() if p.asset == "pump-1"}
    windows = [Source(story.settings, seed=20).window(1, n) for n in range(90)]
    rows = {
        window.start_ms + step * SPEC.period_ms: window.values[step]
        for window in windows
        for step in range(SPEC.stride)
    }
    lines = ["t,flow,pressure,temperature"]
    for at, values in sorted(rows.items()):
        numbers = ("" if np.isnan(value) else repr(float(value)) for value in values)
        lines.append(f"{event_time(at):%Y-%m-%dT%H:%M:%SZ},{','.join(numbers)}")
    (tmp_path / "pump.csv").write_text("\n".join(lines))
    (tmp_path / "dataset.toml").write_text(
        """name = "pump"
files = ["pump.csv"]
time = "t"
asset_name = "pump-1"
period_seconds = 60
sensors = [{name = "flow"}, {name = "pressure"}, {name = "temperature"}]
task = {kind = "forecast", window = 6, horizon = 3, stride = 3, target = "sequence", \
targets = ["flow", "temperature"]}
"""
    )
    path = tmp_path / "scored.parquet"
    done = score_dataset(
        story.settings, str(tmp_path / "dataset.toml"), "pump@2", str(path), lambda *_: None
    )
    scored = pq.ParquetFile(path).read().to_pylist()
    assert len(scored) == done.tally.predicted == 89
    same = [r for r in scored if (w := wanted.get(r["window_id"])) and w.version == 2]
    assert len(same) > 20
    assert all(r["forecast"] == wanted[r["window_id"]].forecast for r in same)
    assert not {r["id"] for r in scored} & {p.id for p in story.published.values()}
    with pytest.raises(SettingsError, match="not to a topic"):
        score_dataset(story.settings, "fleet", "2", "scored", lambda *_: None)
    with pytest.raises(SettingsError, match="no model reads the sensors of fleet"):
        score_dataset(story.settings, "fleet", "2", str(path), lambda *_: None)


def test_the_archive_alone_is_enough(story: Story) -> None:
    """After the topics' records were deleted; it is the last test, since it deletes them."""
    client = reader(story.settings)
    places = []
    for topic in (SENSOR_WINDOWS, PREDICTIONS):
        name = story.settings.named(topic.name)
        for partition in partitions_of(client, name):
            end = watermarks(client, TopicPartition(name, partition))[1]
            places.append(TopicPartition(name, partition, end))
    client.close()
    ask_admin(
        story.settings, lambda a: [one.result(30) for one in a.delete_records(places).values()]
    )
    assert not list(read_all(story.settings, SENSOR_WINDOWS))
    found = verify(story)
    assert found.findings == ()
    assert found.equal == len(story.published)


def _live(settings: Settings) -> object:
    """Ends of all topics, and the committed offsets of the live groups."""
    client = reader(settings)
    try:
        ends = {
            (topic.name, partition): watermarks(
                client, TopicPartition(settings.named(topic.name), partition)
            )
            for topic in TOPICS
            if topic in {DRIFT_ALERTS, OUTCOMES, TRAINING_REQUESTS, PREDICTIONS, SENSOR_WINDOWS}
            for partition in partitions_of(client, settings.named(topic.name))
        }
    finally:
        client.close()
    groups = {}
    for group in (STREAM_PROCESSOR, INFERENCE, ARCHIVER):
        own = reader(settings, {"group.id": settings.named(group)})
        asked = [TopicPartition(settings.named(t), p) for t, p in ends]
        groups[group] = [(at.topic, at.partition, at.offset) for at in own.committed(asked, 15.0)]
        own.close()
    return ends, groups
