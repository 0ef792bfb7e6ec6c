"""The edge delivers to a real broker: each window once, in order per asset, where Java puts it."""

import json
import os
import signal
import subprocess
import sys
from collections import defaultdict
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest
from confluent_kafka import Message

from millrace.contracts.events.model_event import ModelEvent
from millrace.contracts.events.window import SensorWindow, decode_window
from millrace.contracts.headers import header
from millrace.contracts.topics import MODEL_EVENTS, SENSOR_WINDOWS
from millrace.contracts.wire.codec import EventReader
from millrace.infra.kafka.clients import admin, producer
from millrace.infra.kafka.log_reader import read_all
from millrace.infra.object_store import ObjectStore
from millrace.infra.settings import Settings
from millrace.infra.topics.admin import create_topics
from millrace.producers.delivery.forwarder import PRODUCER, Forwarder
from millrace.producers.delivery.memory_spool import MemorySpool
from millrace.producers.sources.defects import REASONS, bad_windows
from millrace.producers.sources.opening import open_recording
from millrace.producers.sources.simulate import quiet_windows
from millrace.producers.windows import windows
from tests.places import PROJECT

DESCRIPTION = """
name = "pumps"
files = ["readings.csv"]
time = "when"
asset = "machine"
period_seconds = 60
sensors = [{name = "flow"}, {name = "heat"}]
task = {kind = "forecast", window = 4, horizon = 2, stride = 2}
"""
ASSETS = [f"pump-{number}" for number in range(9)]
SAMPLES = 40


@pytest.fixture(autouse=True)
def _topics(settings: Settings) -> None:
    """The declared topics, in the test's namespace."""
    create_topics(admin(settings), settings)


@pytest.fixture
def dataset(tmp_path: Path) -> Path:
    """A small recording of some machines, with a gap in the middle."""
    rng = np.random.default_rng(5)
    rows = ["when,machine,flow,heat"]
    for sample in [*range(SAMPLES // 2), *range(SAMPLES // 2 + 5, SAMPLES + 5)]:
        for asset in ASSETS:
            flow, heat = rng.normal(size=2)
            rows.append(f"2024-01-01 {sample // 60:02}:{sample % 60:02}:00,{asset},{flow},{heat}")
    (tmp_path / "readings.csv").write_text("\n".join(rows))
    path = tmp_path / "dataset.toml"
    path.write_text(DESCRIPTION)
    return path


def edge(settings: Settings, *arguments: str) -> "subprocess.Popen[str]":
    """Start an edge command as people do."""
    return subprocess.Popen(
        [sys.executable, "-m", "millrace.producers", *arguments],
        cwd=PROJECT,
        env={
            **os.environ,
            "MILLRACE_HOME": str(settings.home),
            "MILLRACE_NAMESPACE": settings.namespace,
            "MILLRACE_KAFKA_BOOTSTRAP_SERVERS": settings.kafka_bootstrap_servers,
            "MILLRACE_S3_ENDPOINT": settings.s3_endpoint,
            "MILLRACE_S3_ACCESS_KEY": settings.s3_access_key,
            "MILLRACE_S3_SECRET_KEY": settings.s3_secret_key.get_secret_value(),
        },
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def decoded(message: Message) -> SensorWindow:
    """Decode a record of the topic."""
    value, headers = message.value(), message.headers()
    assert value is not None
    assert headers is not None
    return decode_window(value, header(headers, "content-type") or "")


def java_partition(key: bytes, partitions: int) -> int:
    """Kafka's default partitioner, from org.apache.kafka.common.utils.Utils.murmur2."""
    mask, m = 0xFFFFFFFF, 0x5BD1E995
    h = (0x9747B28C ^ len(key)) & mask
    whole = len(key) - len(key) % 4
    for i in range(0, whole, 4):
        k = int.from_bytes(key[i : i + 4], "little") * m & mask
        k = (k ^ k >> 24) * m & mask
        h = (h * m & mask) ^ k
    rest = key[whole:]
    if rest:
        h = (h ^ int.from_bytes(rest, "little")) * m & mask
    h = (h ^ h >> 13) * m & mask
    return ((h ^ h >> 15) & 0x7FFFFFFF) % partitions


def test_the_reference_is_javas() -> None:
    """Known values of Kafka's own test of murmur2 ("21" hashes to -973932308, and so on)."""
    for key, hashed in ((b"21", -973932308), (b"foobar", -790332482), (b"abc", 479470107)):
        assert java_partition(key, 1 << 31) == hashed & 0x7FFFFFFF


@pytest.mark.parametrize("encoding", ["msgpack", "json"])
def test_every_window_arrives_once_and_in_order(
    settings: Settings, dataset: Path, encoding: str
) -> None:
    """The topic holds exactly the recording's windows, each asset's in the order of time."""
    process = edge(settings, "replay", str(dataset), "--encoding", encoding, "--json")
    out, err = process.communicate(timeout=60)
    assert process.returncode == 0, err
    recording = open_recording(str(dataset), settings)
    expected = windows(recording.frame(), recording.spec)
    assert json.loads(out)["sent"] == len(expected) == len(ASSETS) * 2 * 9

    arrived: dict[str, list[SensorWindow]] = defaultdict(list)
    for message in read_all(settings, SENSOR_WINDOWS):
        window = decoded(message)
        key = message.key()
        assert key == window.asset.encode()
        assert message.partition() == java_partition(key, settings.kafka_partitions)
        assert header(message.headers(), "ce_id") == window.id
        arrived[window.asset].append(window)
    for asset in ASSETS:
        own = [window for window in expected if window.asset == asset]
        assert [window.id for window in arrived[asset]] == [window.id for window in own]
        for got, sent in zip(arrived[asset], own, strict=True):
            np.testing.assert_array_equal(got.values, sent.values)
    assert len({m.partition() for m in read_all(settings, SENSOR_WINDOWS)}) > 1


def test_the_model_is_declared_once(settings: Settings, dataset: Path) -> None:
    """The first edge makes its model known, the second finds it there."""
    for _ in range(2):
        process = edge(settings, "replay", str(dataset), "--json")
        assert process.wait(60) == 0
        process.communicate()
    read = EventReader[ModelEvent](ModelEvent)
    kinds = [type(read(m.value() or b"")).__name__ for m in read_all(settings, MODEL_EVENTS)]
    assert kinds == ["Registered", "Approved", "Activated"]


def test_a_recording_in_the_object_store(settings: Settings, dataset: Path) -> None:
    """A description and its files may be objects, the files beside it."""
    store = ObjectStore(settings)
    store.create_bucket()
    for path in (dataset, dataset.parent / "readings.csv"):
        store.put(f"plant/{path.name}", path.read_bytes())
    there = open_recording(f"s3://{settings.bucket}/plant/dataset.toml", settings)
    here = open_recording(str(dataset), settings)
    assert there.frame().equals(here.frame())


def test_control_c_ends_cleanly(settings: Settings) -> None:
    """On SIGINT the edge delivers what it handed over, reports that number, and exits 130."""
    with edge(settings, "simulate", "--rate", "500", "--minutes", "10", "--json") as process:
        try:
            while not any(True for _ in read_all(settings, SENSOR_WINDOWS)):
                assert process.poll() is None
            process.send_signal(signal.SIGINT)
            out, _ = process.communicate(timeout=60)
        finally:
            process.kill()
    assert process.returncode == 130
    summary = json.loads(out)
    assert summary["interrupted"]
    ids = [decoded(message).id for message in read_all(settings, SENSOR_WINDOWS)]
    assert len(ids) == len(set(ids)) == summary["sent"] > 0


def test_bad_windows_are_delivered_as_they_are(settings: Settings) -> None:
    """Every seeded bad record reaches the topic byte by byte, oversized ones too."""
    rng = np.random.default_rng(11)
    good = list(quiet_windows(2 * len(REASONS), datetime(2026, 1, 1, tzinfo=UTC)))
    bad = list(bad_windows(good, rng))
    client = producer(settings, PRODUCER)
    forwarder = Forwarder(MemorySpool(), client, settings.named(SENSOR_WINDOWS.name))
    for record in bad:
        forwarder.send_record(record.key, record.value, record.headers, 1_700_000_000_000)
    forwarder.flush()
    arrived = {message.value() for message in read_all(settings, SENSOR_WINDOWS)}
    assert arrived == {record.value for record in bad}
    assert {record.reason for record in bad} == set(REASONS)


def test_a_missing_topic_is_one_line(settings: Settings, dataset: Path) -> None:
    """Where there is no system, an edge says so and how to start one."""
    elsewhere = settings.model_copy(update={"namespace": "nobody-here"})
    process = edge(elsewhere, "replay", str(dataset), "--json")
    _, err = process.communicate(timeout=60)
    assert process.returncode == 1
    assert err.startswith("error: topic nobody-here.sensor.windows is not there")
    assert "Traceback" not in err
