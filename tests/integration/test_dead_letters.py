"""Dead letters on a real broker: refused, looked at, mended, and taken once.

One story, lived once. A window of sensors that no model reads is refused, sent again, refused
again; the model is declared, and all its letters are sent again: at once, twice, and once more
to a stream processor that was killed. A torn window is mended in two ways, for two assets.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec
import pytest
from confluent_kafka import Producer, TopicPartition

from millrace.contracts.events.dead_letter import Origin, headers_again
from millrace.contracts.events.event import MSGPACK
from millrace.contracts.events.mended import Resolution
from millrace.contracts.events.normalized_window import NormalizedWindow
from millrace.contracts.events.prediction import Prediction
from millrace.contracts.events.window import SensorWindow, encode_window, encode_window_json
from millrace.contracts.headers import CONTENT_TYPE, RawHeaders, header
from millrace.contracts.model_spec import ModelSpec
from millrace.contracts.topics import (
    DEAD_LETTERS,
    MAX_DEAD_LETTER_BYTES,
    MENDED,
    NORMALIZED,
    PREDICTIONS,
    SENSOR_WINDOWS,
)
from millrace.contracts.wire.codec import EventReader
from millrace.contracts.wire.cut_letter import cut_of
from millrace.infra.declare import declare_model
from millrace.infra.kafka.clients import admin, producer
from millrace.infra.object_store import ObjectStore
from millrace.infra.settings import Settings
from millrace.infra.topics.admin import create_topics
from tests.builders import pump_spec, pump_window
from tests.integration.observing import Observer, Service, environment
from tests.places import PROJECT, settings_at

pytestmark = pytest.mark.timeout(300)

PUMP = pump_spec()
#: Read by no model at first.
BOILER = ModelSpec("boiler", ("draught", "feed"), 60.0, window=6, horizon=3, stride=3)
PARTITION = 1
#: How long anything may take on a busy machine, seconds; nothing waits for it when it is done.
PATIENCE = 60.0

read_prediction = EventReader[Prediction](Prediction)
read_mended = EventReader[Resolution](Resolution)


@dataclass
class Story:
    """A running system, and what it is told."""

    settings: Settings
    client: Producer
    observer: Observer
    folder: Path
    services: list[Service] = field(default_factory=list)
    sentinels: int = 0

    def send(self, key: bytes, value: bytes, headers: RawHeaders | None = None) -> None:
        """Send a record to the partition."""
        typed: RawHeaders = [(CONTENT_TYPE, MSGPACK.encode())]
        self.client.produce(
            self.settings.named(SENSOR_WINDOWS.name),
            value,
            key,
            partition=PARTITION,
            headers=list(typed if headers is None else headers),
        )
        assert self.client.flush(10) == 0

    def settle(self) -> None:
        """Wait until everything that was sent before has come through to the predictions."""
        self.sentinels += 1
        window = pump_window(3 * self.sentinels, asset="sentinel")
        self.send(b"sentinel", encode_window(window))
        self.observer.until(
            lambda: len(self.predictions("sentinel")) == self.sentinels,
            PATIENCE,
            f"sentinel {self.sentinels} predicted",
        )

    def predictions(self, asset: str) -> list[Prediction]:
        """Predictions of an asset, as a `read_committed` reader sees them."""
        found = self.observer.events(PREDICTIONS, read_prediction)
        return [prediction for prediction in found if prediction.asset == asset]

    def stamped(self, *assets: str) -> list[NormalizedWindow]:
        """Stamped windows of assets."""
        found = [
            msgspec.msgpack.decode(message.value() or b"", type=NormalizedWindow)
            for message in self.observer.records(NORMALIZED)
        ]
        return [window for window in found if window.asset in assets]

    def until_refused(self, count: int) -> None:
        """Wait for so many dead letters, and for no more."""
        self.observer.until(
            lambda: self.observer.count(DEAD_LETTERS) >= count, PATIENCE, f"{count} dead letters"
        )
        assert self.observer.count(DEAD_LETTERS) == count

    def command(self, *arguments: str) -> list[str]:
        """Of a console command, the arguments of its process."""
        return [sys.executable, "-m", "millrace.console", "dead-letters", *arguments]

    def run(self, *arguments: str, status: int = 0, stdin: bytes = b"") -> str:
        """Run a console command; its standard output, or of a failing one, standard error."""
        done = subprocess.run(
            self.command(*arguments),
            cwd=PROJECT,
            env=environment(self.settings),
            input=stdin,
            capture_output=True,
            check=False,
            timeout=60,
        )
        assert done.returncode == status, done.stderr.decode()
        assert b"Traceback" not in done.stderr
        return (done.stderr if status else done.stdout).decode()

    def at_once(self, commands: Sequence[Sequence[str]]) -> None:
        """Run console commands at the same time."""
        running = [
            subprocess.Popen(self.command(*each), cwd=PROJECT, env=environment(self.settings))
            for each in commands
        ]
        assert [process.wait(60) for process in running] == [0] * len(running)

    def answer(self, *arguments: str) -> Any:
        """Run a console command with --json; its answer."""
        return json.loads(self.run(*arguments, "--json"))


@pytest.fixture(scope="module")
def story(servers: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Story]:
    """Start the stream processor and inference, with one model."""
    folder = tmp_path_factory.mktemp("letters")
    settings = settings_at(servers, folder, f"letters-{folder.name}", kafka_partitions=2)
    create_topics(admin(settings), settings)
    ObjectStore(settings).create_bucket()
    declare_model(settings, PUMP, "/test")
    services: list[Service] = []
    topics = (NORMALIZED, PREDICTIONS, DEAD_LETTERS, MENDED)
    observer = Observer(settings, topics, services)
    try:
        services += [
            Service(name, settings, folder)
            for name in ("millrace.stream_processors", "millrace.inference")
        ]
        yield Story(settings, producer(settings), observer, folder, services)
    finally:
        for service in services:
            service.stop()
        observer.close()


def boiler_window() -> SensorWindow:
    """A window that no model reads before `BOILER` is declared."""
    values = pump_window(0).values[:, :2]
    return SensorWindow("boiler-1", BOILER.sensors, pump_window(0).start_ms, 60.0, values)


def test_a_refused_window_is_taken_once_however_often_it_is_sent_again(story: Story) -> None:
    """Before its model is there and after; at once, twice, and after a crash."""
    window = boiler_window()
    story.send(b"boiler-1", encode_window(window))
    story.until_refused(1)

    # It is open, and a choice does not send what would be refused again.
    listed = story.answer("list")
    (line,) = listed["letters"]
    assert (line["reason"], line["state"], line["asset"]) == (
        "unknown_sensor_set",
        "open",
        "boiler-1",
    )
    first = line["ref"]
    passed = story.answer("retry", "--all")
    assert passed["sent"] == []
    assert passed["passed_over"] == {"would be refused again: unknown_sensor_set": 1}

    # Named, it is sent, and refused again: a second letter with the same first origin.
    (sent,) = story.answer("retry", first)["sent"]
    assert (sent["partition"], sent["first_offset"]) == (PARTITION, line["offset"])
    story.until_refused(2)
    old, new = story.answer("list")["letters"]
    assert (old["state"], new["state"]) == ("sent again", "open")
    assert new["offset"] == sent["offset"]
    assert new["first_offset"] == old["offset"] == line["offset"]

    # The model is declared: both letters are sent again, by several people at the same time.
    declare_model(story.settings, BOILER, "/test")
    assert len(story.answer("retry", "--all", "--dry-run")["sent"]) == 1
    assert story.stamped("boiler-1") == []
    story.at_once([("retry", first), ("retry", first, new["ref"]), ("retry", "--all")])
    story.settle()
    assert len(story.stamped("boiler-1")) == 1

    # Again, to a stream processor that was killed, and has to find out what it had taken.
    processor = story.services[0]
    processor.kill()
    processor.restart()
    remarks = [each["remark"] for each in story.answer("retry", first, new["ref"])["sent"]]
    assert all("has no effect" in remark for remark in remarks)
    story.settle()
    (prediction,) = story.predictions("boiler-1")
    assert prediction.window_id == window.id
    assert len(story.stamped("boiler-1")) == 1

    # Both letters are at their end, and a choice sends nothing any more.
    story.until_refused(2)
    (note,) = story.observer.events(MENDED, read_mended)
    assert (note.first_offset, note.offset) == (line["offset"], prediction.source.offset)
    ended = story.answer("list")
    assert {each["state"] for each in ended["letters"]} == {"mended"}
    assert ended["counts"] == [
        {"reason": "unknown_sensor_set", "letters": 2, "retried": 2, "mended": 2, "final": 0}
    ]
    assert story.answer("retry", "--all") == {
        "dry_run": False,
        "sent": [],
        "passed_over": {"mended": 2},
    }


def test_a_letter_that_is_mended_in_two_ways_is_taken_once(story: Story) -> None:
    """Other bytes, for another asset, in another encoding: it is still the same letter."""
    before = story.observer.count(DEAD_LETTERS)
    torn = encode_window(pump_window(0, asset="pump-7"))[:-9]
    story.send(b"pump-7", torn)
    story.until_refused(before + 1)
    (line,) = story.answer("list", "--reason", "undecodable")["letters"]
    ref = line["ref"]

    # Its bytes can be had, and looked at.
    raw = story.folder / "letter.bin"
    story.run("show", ref, "--raw", str(raw))
    assert raw.read_bytes() == torn
    shown = story.answer("show", ref)
    assert shown["content"]["kind"] == "bytes"
    assert shown["headers"] == [[CONTENT_TYPE, MSGPACK]]
    assert "undecodable" in story.run("show", ref)

    # What makes no window of it is not sent.
    assert "no window yet" in story.run("retry", ref, "--value", str(raw), status=2)
    for number, asset in enumerate(("pump-7", "pump-8")):
        value = encode_window_json(pump_window(3 * number, asset=asset))
        options = ("--value", "-", "--key", asset, "--content-type", "application/json")
        story.run("retry", ref, *options, stdin=value)
    story.settle()
    (window,) = story.stamped("pump-7", "pump-8")
    assert window.asset == "pump-7"
    assert len(story.predictions("pump-7") + story.predictions("pump-8")) == 1


def test_a_forged_origin_is_refused(story: Story) -> None:
    """It names a window that was taken; its letter is taken by its own place."""
    before = story.observer.count(DEAD_LETTERS)
    story.send(b"victim", encode_window(pump_window(0, asset="victim")))
    story.observer.until(lambda: bool(story.stamped("victim")), PATIENCE, "the victim stamped")
    victim = story.stamped("victim")[0].source
    origin = Origin(SENSOR_WINDOWS.name, PARTITION, victim.offset)
    headers = headers_again([(CONTENT_TYPE, MSGPACK.encode())], origin)
    story.send(b"forger", encode_window(pump_window(0, asset="forger")), headers)
    story.until_refused(before + 1)
    (line,) = story.answer("list", "--reason", "bad_origin")["letters"]
    assert line["first_offset"] == line["offset"] > victim.offset
    assert story.stamped("forger") == []

    # Forged once more, to a stream processor that was killed: letters are read down to there.
    processor = story.services[0]
    processor.kill()
    processor.restart()
    story.send(b"forger", encode_window(pump_window(3, asset="forger")), headers)
    story.until_refused(before + 2)

    for _ in range(2):
        story.answer("retry", line["ref"])
    story.settle()
    (window,) = story.stamped("forger")
    assert window.start_ms == pump_window(0).start_ms
    assert story.observer.count(DEAD_LETTERS) == before + 2


def test_a_value_that_fits_into_no_letter_comes_back_whole(story: Story) -> None:
    """From the object store; else from its topic; and what is no more is told."""
    before = story.observer.count(DEAD_LETTERS)
    value = b"[" + b"1," * (MAX_DEAD_LETTER_BYTES // 2) + b"1]"
    large = producer(story.settings, {"message.max.bytes": 64 << 20})
    large.produce(
        story.settings.named(SENSOR_WINDOWS.name),
        value,
        b"pump-6",
        partition=PARTITION,
        headers=[(CONTENT_TYPE, b"application/json")],
    )
    assert large.flush(30) == 0
    story.until_refused(before + 1)
    (line,) = story.answer("list", "--asset", "pump-6")["letters"]
    assert (line["reason"], line["state"], line["bytes"]) == ("oversized", "open", len(value))
    letter = story.observer.records(DEAD_LETTERS)[-1]
    assert len(letter.value() or b"") < len(value)
    cut = cut_of([(n, v or b"") for n, v in letter.headers() or []])
    assert cut is not None
    assert cut.key is not None

    raw = story.folder / "whole.json"
    store = ObjectStore(story.settings)
    assert store.get(cut.key, digest=cut.sha256) == value
    story.run("show", line["ref"], "--raw", str(raw))
    assert raw.read_bytes() == value
    store.put(cut.key, b"something else")  # then its topic has it still
    story.run("show", line["ref"], "--raw", str(raw))
    assert raw.read_bytes() == value
    assert story.answer("show", line["ref"])["cut"] is None

    # Sent again, it is refused again: the second letter is about the same first record.
    (sent,) = story.answer("retry", line["ref"])["sent"]
    assert sent["bytes"] == len(value)
    story.until_refused(before + 2)
    old, new = story.answer("list", "--asset", "pump-6")["letters"]
    assert (old["state"], new["state"]) == ("sent again", "open")
    assert new["first_offset"] == line["offset"]

    # Its topic has lost it, and so has the store.
    place = TopicPartition(story.settings.named(SENSOR_WINDOWS.name), PARTITION, line["offset"] + 1)
    client = admin(story.settings)
    (gone,) = client.delete_records([place]).values()
    gone.result(30)
    assert "is not there any more" in story.run("retry", line["ref"], status=2)
    assert "is not there any more" in story.run("show", line["ref"], "--raw", "-", status=2)
    assert "is not there any more" in story.answer("show", line["ref"])["cut"]
    mended = encode_window_json(pump_window(30, asset="pump-6"))
    story.run("retry", line["ref"], "--value", "-", stdin=mended)
    story.settle()
    (prediction,) = story.predictions("pump-6")
    assert prediction.asset == "pump-6"


def test_what_inference_refused_is_final(story: Story) -> None:
    """It is listed, shown and explained, and not sent again."""
    before = story.observer.count(DEAD_LETTERS)
    story.client.produce(
        story.settings.named(NORMALIZED.name), b"no window", b"pump-9", partition=PARTITION
    )
    assert story.client.flush(10) == 0
    story.until_refused(before + 1)
    (line,) = story.answer("list", "--asset", "pump-9", "--since", "1h")["letters"]
    assert (line["state"], line["topic"]) == ("final", NORMALIZED.name)
    assert NORMALIZED.name in story.run("retry", line["ref"], status=2)
    letter = story.observer.records(DEAD_LETTERS)[-1]
    assert header([(n, v or b"") for n, v in letter.headers() or []], "millrace_reason") == (
        "undecodable"
    )


def test_what_is_not_there_is_told(story: Story) -> None:
    """One line, and nothing is sent."""
    assert "no dead letter 1:99999" in story.run("retry", "1:99999", status=2)
    assert "no dead letter 7:0" in story.run("show", "7:0", status=2)
    assert "name it" in story.run("retry", "--all", "--key", "x", status=2)
    assert story.answer("list", "--asset", "nobody") == {"found": 0, "counts": [], "letters": []}


def test_letters_are_listed_for_people(story: Story) -> None:
    """A table of letters, and one of reasons."""
    story.until_refused(story.observer.count(DEAD_LETTERS))
    printed = story.run("list", "--limit", "2")
    assert "by reason" in printed
    assert "sensor.windows 1:" in printed
