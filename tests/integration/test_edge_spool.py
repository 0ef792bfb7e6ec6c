"""An edge that loses the broker, or is killed, loses no window: real processes, real broker."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Self

import numpy as np
import pytest
from confluent_kafka import Message

from millrace.contracts.events.window import SensorWindow, decode_window
from millrace.contracts.headers import header
from millrace.contracts.topics import SENSOR_WINDOWS
from millrace.infra.kafka.clients import admin
from millrace.infra.kafka.log_reader import read_all
from millrace.infra.local.waiting import wait_until
from millrace.infra.settings import Settings
from millrace.infra.topics.admin import create_topics
from millrace.producers.delivery.in_flight import REPEATS
from millrace.producers.sources.opening import open_recording
from millrace.producers.windows import windows
from tests.integration.own_broker import Broker
from tests.places import PROJECT

pytestmark = pytest.mark.timeout(240)

DESCRIPTION = """
name = "pumps"
files = ["readings.csv"]
time = "when"
asset = "machine"
period_seconds = 60
sensors = [{name = "flow"}, {name = "heat"}]
task = {kind = "forecast", window = 8, horizon = 2, stride = 2}
"""
ASSETS = 8
SAMPLES = 400
PATIENCE = 60.0


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Broker]:
    """A broker of this module's own."""
    made = Broker(tmp_path_factory.mktemp("broker"))
    try:
        made.start()
        yield made
    finally:
        made.kill()


@pytest.fixture
def here(broker: Broker, namespace: str, tmp_path: Path) -> Settings:
    """Settings that reach the broker, with declared topics in the test's own namespace."""
    settings = Settings.read(
        home=tmp_path / "var",
        namespace=namespace,
        kafka_bootstrap_servers=f"127.0.0.1:{broker.port}",
    )
    create_topics(admin(settings), settings)
    return settings


@pytest.fixture
def dataset(tmp_path: Path) -> Path:
    """A recording of some machines."""
    rng = np.random.default_rng(7)
    rows = ["when,machine,flow,heat"]
    for sample in range(SAMPLES):
        at = f"2024-01-01 {sample // 60:02}:{sample % 60:02}:00"
        for asset in range(ASSETS):
            flow, heat = rng.normal(size=2)
            rows.append(f"{at},pump-{asset},{flow},{heat}")
    (tmp_path / "readings.csv").write_text("\n".join(rows))
    path = tmp_path / "dataset.toml"
    path.write_text(DESCRIPTION)
    return path


class Edge:
    """An edge command as people start it; what it says is in files."""

    def __init__(self, settings: Settings, place: Path, *arguments: str, **more: str) -> None:
        self._place = place
        self._said = place.with_suffix(".log").open("w+")
        self._result = place.with_suffix(".json").open("w+")
        self.process = subprocess.Popen(
            [sys.executable, "-m", "millrace.producers", *arguments, "--json"],
            cwd=PROJECT,
            env={
                **os.environ,
                "MILLRACE_HOME": str(settings.home),
                "MILLRACE_NAMESPACE": settings.namespace,
                "MILLRACE_KAFKA_BOOTSTRAP_SERVERS": settings.kafka_bootstrap_servers,
                **more,
            },
            stdout=self._result,
            stderr=self._said,
        )

    @property
    def said(self) -> str:
        """Its log so far."""
        return self._place.with_suffix(".log").read_text()

    def end(self) -> int:
        """Wait for its end."""
        return self.process.wait(PATIENCE)

    def result(self) -> dict[str, object]:
        """What it printed."""
        return dict(json.loads(self._place.with_suffix(".json").read_text()))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        with contextlib.suppress(ProcessLookupError):
            self.process.kill()
        self.process.wait()
        self._said.close()
        self._result.close()


def decoded(message: Message) -> SensorWindow:
    """Decode a record of the topic."""
    value = message.value()
    assert value is not None
    return decode_window(value, header(message.headers(), "content-type") or "")


def arrived(settings: Settings) -> dict[str, list[int]]:
    """Starts of the windows in the topic, by asset, in order."""
    found: dict[str, list[int]] = defaultdict(list)
    for message in read_all(settings, SENSOR_WINDOWS):
        window = decoded(message)
        found[window.asset].append(window.start_ms)
    return found


def expected(settings: Settings, dataset: Path) -> dict[str, list[int]]:
    """The same of the recording."""
    recording = open_recording(str(dataset), settings)
    found: dict[str, list[int]] = defaultdict(list)
    for window in windows(recording.frame(), recording.spec):
        found[window.asset].append(window.start_ms)
    return found


def spooled_bytes(settings: Settings) -> int:
    """Size of what lies in the home's spools."""
    return sum(p.stat().st_size for p in (settings.home / "edge").glob("*/spool.sqlite*"))


def spools(settings: Settings) -> list[Path]:
    """The home's spools."""
    return list((settings.home / "edge").glob("*"))


def assert_repeated_at_most(arrived_of: list[int], all_of: list[int]) -> None:
    """Check that records are the source's, in order, but for short runs that begin again."""
    seen: list[int] = []
    for start in arrived_of:
        if start in seen:
            assert len(seen) - seen.index(start) <= REPEATS
        else:
            seen.append(start)
    assert seen == all_of


def test_an_outage_under_a_running_edge(
    broker: Broker, here: Settings, dataset: Path, tmp_path: Path
) -> None:
    """The broker is killed and comes back: every window arrives once, in order, in its time."""
    with Edge(here, tmp_path / "edge", "replay", str(dataset), "--rate", "150") as edge:
        wait_until(
            lambda: sum(map(len, arrived(here).values())) > 150, "first windows", seconds=PATIENCE
        )
        broker.kill()
        try:
            wait_until(
                lambda: "the broker is away; windows are spooled" in edge.said,
                "the edge to say so",
                seconds=PATIENCE,
            )
            size = spooled_bytes(here)
            wait_until(lambda: spooled_bytes(here) > size + 200_000, "a backlog", seconds=PATIENCE)
            assert edge.process.poll() is None
        finally:
            broker.start()
        returned_ms = time.time() * 1_000
        assert edge.end() == 0, edge.said
    assert "the broker is back after" in edge.said
    result = edge.result()
    whole = expected(here, dataset)
    assert arrived(here) == whole
    assert result["sent"] == sum(map(len, whole.values()))
    assert not result["interrupted"]
    assert isinstance(result["spool"], dict)
    assert result["spool"]["waiting"] == result["not_recorded"] == 0
    assert spools(here) == []
    stamps = sorted(message.timestamp()[1] for message in read_all(here, SENSOR_WINDOWS))
    gaps = np.diff(stamps)
    assert gaps.max() < 1_000  # the source went on at its pace, and the records say so
    assert sum(stamp < returned_ms for stamp in stamps) > 400


@pytest.mark.parametrize("point", ["edge.before-output", "edge.before-confirmation"])
def test_a_kill_at_each_point(here: Settings, dataset: Path, tmp_path: Path, point: str) -> None:
    """Killed and started again, twice: all arrive, and only what was unconfirmed arrives twice."""
    marks = tmp_path / "marks"
    marks.mkdir()
    more = {
        "MILLRACE_FAULT": f"{point}@4=kill,{point}@7=kill",
        "MILLRACE_FAULT_MARKS": str(marks),
    }
    arguments = ("replay", str(dataset), "--rate", "1500")
    statuses = []
    for life in range(3):
        with Edge(here, tmp_path / f"edge-{life}", *arguments, **more) as edge:
            statuses.append(edge.end())
    assert statuses == [-signal.SIGKILL, -signal.SIGKILL, 0], edge.said
    assert "goes on after" in edge.said
    whole, found = expected(here, dataset), arrived(here)
    assert found.keys() == whole.keys()
    for asset, starts in whole.items():
        assert_repeated_at_most(found[asset], starts)
    assert spools(here) == []


def test_stopped_in_an_outage_and_flushed_later(
    broker: Broker, here: Settings, dataset: Path, tmp_path: Path
) -> None:
    """SIGTERM ends it in time, the rest waits; `flush` sends that, and a new run the others."""
    arguments = ("replay", str(dataset), "--rate", "150")
    with Edge(here, tmp_path / "first", *arguments) as edge:
        wait_until(
            lambda: sum(map(len, arrived(here).values())) > 50, "first windows", seconds=PATIENCE
        )
        broker.kill()
        try:
            wait_until(
                lambda: "the broker is away" in edge.said, "the edge to say so", seconds=PATIENCE
            )
            began = time.monotonic()
            edge.process.send_signal(signal.SIGTERM)
            assert edge.end() == 128 + signal.SIGTERM
            assert time.monotonic() - began < 10
        finally:
            broker.start()
    first = edge.result()
    assert isinstance(first["spool"], dict)
    waiting = first["spool"]["waiting"]
    assert waiting > 100
    with Edge(here, tmp_path / "flush", "flush") as flush:
        assert flush.end() == 0, flush.said
    assert flush.result()["sent"] == waiting
    there = sum(len(set(starts)) for starts in arrived(here).values())
    assert there == first["spool"]["spooled"]
    with Edge(here, tmp_path / "second", *arguments[:2]) as edge:
        assert edge.end() == 0, edge.said
    whole, found = expected(here, dataset), arrived(here)
    for asset, starts in whole.items():
        # The broker may have had, but not confirmed, what was on its way when it was killed.
        assert_repeated_at_most(found[asset], starts)
    assert edge.result()["sent"] == sum(map(len, whole.values())) - there
    assert spools(here) == []


def test_a_finished_recording_is_sent_again(here: Settings, dataset: Path, tmp_path: Path) -> None:
    """Nothing of a run that has ended well changes the next one, with a spool or without."""
    for life, more in enumerate([(), (), ("--no-spool",)], 1):
        with Edge(here, tmp_path / f"edge-{life}", "replay", str(dataset), *more) as edge:
            assert edge.end() == 0, edge.said
        whole = expected(here, dataset)
        assert arrived(here) == {asset: life * starts for asset, starts in whole.items()}


def test_a_live_source_starts_without_a_broker(
    broker: Broker, here: Settings, tmp_path: Path
) -> None:
    """What is measured before the broker is there arrives when it is, and nothing is left."""
    broker.kill()
    try:
        live = ("host", "--asset", "me", "--period", "0.05", "--spool", str(tmp_path / "s"))
        with Edge(here, tmp_path / "host", *live) as edge:
            wait_until(
                lambda: "the broker is away" in edge.said, "the edge to say so", seconds=PATIENCE
            )
            with Edge(here, tmp_path / "other", *live) as other:
                assert other.end() == 1
            assert "another edge uses the spool" in other.said
            size = spooled(tmp_path / "s")
            wait_until(
                lambda: spooled(tmp_path / "s") > size + 40_000, "a backlog", seconds=PATIENCE
            )
            broker.start()
            wait_until(
                lambda: len(arrived(here)["me"]) > 10, "the backlog to arrive", seconds=PATIENCE
            )
            edge.process.send_signal(signal.SIGINT)
            assert edge.end() == 128 + signal.SIGINT, edge.said
    finally:
        if not broker._answers():
            broker.start()
    result = edge.result()
    starts = arrived(here)["me"]
    assert starts == sorted(set(starts))
    assert len(starts) == result["sent"]
    assert not (tmp_path / "s").exists()


def spooled(folder: Path) -> int:
    """Size of what lies in a spool."""
    return sum(path.stat().st_size for path in folder.glob("spool.sqlite*"))
