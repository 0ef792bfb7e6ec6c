"""The spine on a real broker: what it does with a mix of windows, through kills and swaps.

One story is lived once and then looked at from many sides. Eight pumps send good windows,
with bad ones between them, while the stream processor and inference are killed in the middle
of their work, a version is swapped in, rolled back, swapped in again, and one is activated
that nobody can load. At the end the same records go through a stream processor that nothing
happens to.
"""

import secrets
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from confluent_kafka import Message, Producer

from millrace.contracts.events.dead_letter import DETAIL, OFFSET, PARTITION, REASON, TOPIC
from millrace.contracts.events.drift_alert import DriftAlert
from millrace.contracts.events.event import MSGPACK
from millrace.contracts.events.ledger import LedgerEntry
from millrace.contracts.events.model_event import Artefact, ModelEvent, Ready, Unloadable
from millrace.contracts.events.normalized_window import NormalizedWindow
from millrace.contracts.events.outcome import Outcome
from millrace.contracts.events.prediction import Prediction
from millrace.contracts.events.window import SensorWindow, encode_window, encode_window_json
from millrace.contracts.headers import SOURCE_OFFSET, RawHeaders, header
from millrace.contracts.normaliser import Normaliser
from millrace.contracts.topics import (
    DEAD_LETTERS,
    DRIFT_ALERTS,
    FOREVER,
    MAX_WINDOW_BYTES,
    MODEL_EVENTS,
    NORMALIZED,
    OUTCOMES,
    PREDICTIONS,
    SENSOR_WINDOWS,
    SERVING_LEDGER,
    Topic,
)
from millrace.contracts.wire.codec import EventReader, encode, headers_of
from millrace.contracts.wire.cut_letter import cut_of
from millrace.infra import embedded
from millrace.infra.kafka.clients import admin, producer
from millrace.infra.object_store import ObjectStore
from millrace.infra.settings import Settings
from millrace.infra.topics.admin import create_topics
from millrace.producers.record import window_headers
from millrace.producers.sources.defects import BadWindow, bad_windows
from millrace.registry.decisions import declare
from millrace.stream_processors.state.asset import Asset
from millrace.stream_processors.windows.stamps import Stamps
from tests.builders import (
    AT,
    OTHER_UNITS,
    UNITS,
    activated,
    approved,
    errors_seen,
    pump_spec,
    pump_window,
    registered,
    rolled_back,
)
from tests.integration.observing import Observer, Service
from tests.places import settings_at

pytestmark = pytest.mark.timeout(300)

SPEC = pump_spec()
ASSETS = tuple(f"pump-{number}" for number in range(8))
PARTITIONS = 4
#: How long anything may take on a busy machine, seconds; nothing waits for it when it is done.
PATIENCE = 90.0
#: How long a swap may take from the registry to the ledger of every partition, seconds.
SWAP_SECONDS = 4.0
#: Memory of the stream processor, as Faust names its topic.
CHANGELOG = Topic(
    "millrace.stream-processor-assets-changelog", "asset", "memory", "", FOREVER, compacted=True
)
WATCHED = (
    NORMALIZED,
    PREDICTIONS,
    OUTCOMES,
    DEAD_LETTERS,
    DRIFT_ALERTS,
    SERVING_LEDGER,
    MODEL_EVENTS,
)

read_prediction = EventReader[Prediction](Prediction)
read_outcome = EventReader[Outcome](Outcome)
read_alert = EventReader[DriftAlert](DriftAlert)
read_entry = EventReader[LedgerEntry](LedgerEntry)
read_event = EventReader[ModelEvent](ModelEvent)

Place = tuple[int, int]


@dataclass(frozen=True)
class Sent:
    """A record of `sensor.windows`, and what has to become of it.

    Attributes:
        reason: The reason of its dead letter; None for a good window.
        window: The good window.
    """

    key: bytes | None
    value: bytes
    headers: RawHeaders
    partition: int
    offset: int
    at_ms: int
    reason: str | None
    window: SensorWindow | None

    @property
    def place(self) -> Place:
        """Partition and offset."""
        return self.partition, self.offset


@dataclass
class Story:
    """What was sent, and what came of it."""

    settings: Settings
    client: Producer
    observer: Observer
    sent: list[Sent] = field(default_factory=list)
    activations: list[float] = field(default_factory=list)
    places: Counter[str] = field(default_factory=Counter)
    ends: Counter[int] = field(default_factory=Counter)

    def publish(self, *events: ModelEvent) -> None:
        """Write to the registry."""
        for event in events:
            self.client.produce(
                self.settings.named(MODEL_EVENTS.name),
                encode(event),
                event.model,
                headers=[*headers_of(event, "/millrace/test", AT)],
            )
        self.client.flush()

    def send(self, each: int, bad: Sequence[BadWindow] = ()) -> None:
        """Send the next good windows of every pump, with bad records between them."""
        spoiled = list(bad)
        every = max(1, each * len(ASSETS) // (len(spoiled) or 1))
        for number in range(each * len(ASSETS)):
            asset = ASSETS[number % len(ASSETS)]
            window = pump_window(SPEC.stride * self.places[asset], asset=asset)
            self.places[asset] += 1
            plain = number % 5 == 0
            self._record(
                asset.encode(),
                encode_window_json(window) if plain else encode_window(window),
                window_headers(window, "application/json" if plain else MSGPACK, "/test", 0),
                partition=number % PARTITIONS,
                window=window,
            )
            if spoiled and number % every == 0:
                made = spoiled.pop()
                self._record(
                    made.key,
                    made.value,
                    made.headers,
                    partition=number % PARTITIONS,
                    reason=made.reason,
                )
        assert not spoiled
        self.client.flush()

    def _record(
        self,
        key: bytes | None,
        value: bytes,
        headers: RawHeaders,
        *,
        partition: int,
        reason: str | None = None,
        window: SensorWindow | None = None,
    ) -> None:
        offset = self.ends[partition]
        self.ends[partition] += 1
        record = Sent(
            key, value, headers, partition, offset, time.time_ns() // 1_000_000, reason, window
        )
        self.sent.append(record)
        send_again(self.client, self.settings, record)

    def swap(self, event: ModelEvent, epoch: int) -> None:
        """Publish a serving epoch, and wait until every partition is fenced."""
        self.publish(event)
        self.activations.append(
            self.observer.until(
                lambda: sum(entry.epoch == epoch for entry in self.ledger()) == PARTITIONS,
                PATIENCE,
                f"epoch {epoch} in the ledger of every partition",
            )
        )

    def until_predicted(self) -> None:
        """Wait until every good window has at least one prediction."""
        self.observer.until(
            lambda: self.observer.count(PREDICTIONS) >= len(self.good()),
            PATIENCE,
            f"{len(self.good())} predictions",
        )

    def good(self) -> list[Sent]:
        """Good windows."""
        return [record for record in self.sent if record.reason is None]

    def bad(self) -> list[Sent]:
        """Bad windows."""
        return [record for record in self.sent if record.reason is not None]

    def ledger(self) -> list[LedgerEntry]:
        """The ledger."""
        return self.observer.events(SERVING_LEDGER, read_entry)

    def predictions(self) -> list[Prediction]:
        """Predictions, as a `read_committed` reader sees them."""
        return self.observer.events(PREDICTIONS, read_prediction)

    def outcomes(self) -> dict[str, Outcome]:
        """Outcomes without repetitions."""
        return {o.id: o for o in self.observer.events(OUTCOMES, read_outcome)}

    def normalised(self) -> list[NormalizedWindow]:
        """Stamped windows."""
        return [
            msgspec.msgpack.decode(message.value() or b"", type=NormalizedWindow)
            for message in self.observer.records(NORMALIZED)
        ]


def send_again(client: Producer, settings: Settings, record: Sent) -> None:
    """Send a record to its partition, in this or another namespace."""
    client.produce(
        settings.named(SENSOR_WINDOWS.name),
        record.value,
        record.key,
        partition=record.partition,
        timestamp=record.at_ms,
        headers=[*record.headers],
    )
    client.poll(0)


def spoiled_windows(count: int) -> list[BadWindow]:
    """A seeded mix of every defect, and records that try to mislead or to choke us."""
    good = [pump_window(SPEC.stride * (1000 + number)) for number in range(count)]
    mix = list(bad_windows(good, np.random.default_rng(20261121)))
    nested = pump_window(0)
    lies = [(SOURCE_OFFSET, b"999999999"), (SOURCE_OFFSET, b"none"), (REASON, b"a lie")]
    headers = window_headers(nested, MSGPACK, "/test", 0)
    mix.append(BadWindow(b"pump-0", b"\x91" * 100_000, [*headers, *lies], "undecodable"))
    mix.append(BadWindow(b"pump-0", bytes(9 * MAX_WINDOW_BYTES), headers, "oversized"))
    mix.append(BadWindow(b"\xff\x00", encode_window(nested), headers, "key_mismatch"))
    return mix


def settings_for(servers: embedded.Endpoints, home: Path) -> Settings:
    """Settings in a namespace of their own."""
    made = settings_at(servers, home, f"loop-{secrets.token_hex(4)}", kafka_partitions=PARTITIONS)
    create_topics(admin(made), made)
    ObjectStore(made).create_bucket()
    return made


@pytest.fixture(scope="module")
def story(servers: embedded.Endpoints, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Story]:
    """Live the story once."""
    folder = tmp_path_factory.mktemp("loop")
    settings = settings_for(servers, folder)
    # Some of what devices send is larger than our own producers would.
    client = producer(settings, {"message.max.bytes": 64 << 20})
    services: list[Service] = []
    observer = Observer(settings, WATCHED, services)
    lived = Story(settings, client, observer)
    try:
        lived.publish(*declare(SPEC, AT))
        lived.send(20, spoiled_windows(44))
        processor = Service("millrace.stream_processors", settings, folder)
        services.append(processor)
        inference = Service("millrace.inference", settings, folder)
        services.append(inference)
        live(lived, processor, inference)
        yield lived
    finally:
        for service in services:
            service.stop()
        observer.close()


def live(story: Story, processor: Service, inference: Service) -> None:
    """The story itself."""
    observer = story.observer
    story.until_predicted()

    # The first version with units of its own is swapped in.
    story.publish(registered(1), approved(1))
    observer.until(lambda: is_ready(story, 1), PATIENCE, "version 1 ready")
    story.swap(activated(1, 2), epoch=2)

    # The stream processor is killed in the middle of its work.
    before = observer.count(NORMALIZED)
    story.send(200, spoiled_windows(11))
    observer.until(lambda: observer.count(NORMALIZED) > before, PATIENCE, "more windows")
    processor.kill()
    story.send(20)
    processor.restart()
    story.until_predicted()

    # The version is rolled back, and inference is killed in the middle of its work.
    story.swap(rolled_back(0, 3), epoch=3)
    before = observer.count(PREDICTIONS)
    story.send(200)
    observer.until(lambda: observer.count(PREDICTIONS) > before, PATIENCE, "more predictions")
    inference.kill()
    story.send(20)
    inference.restart()
    story.until_predicted()

    # A version that nobody can load is activated all the same, and taken back.
    story.swap(activated(1, 4), epoch=4)
    missing = Artefact("models/pump/v2-nowhere", "0" * 64)
    story.publish(registered(2, units=OTHER_UNITS, artefact=missing), approved(2))
    observer.until(lambda: unloadable(story) != [], PATIENCE, "version 2 said to be unloadable")
    story.swap(activated(2, 5), epoch=5)
    story.send(20, spoiled_windows(11))
    story.until_predicted()
    story.swap(rolled_back(1, 6), epoch=6)
    story.send(60)
    story.until_predicted()
    expected = set(settled(story))
    observer.until(
        lambda: (
            {(o.source.partition, o.source.offset) for o in story.outcomes().values()} >= expected
        ),
        PATIENCE,
        "every outcome",
    )
    observer.until(
        lambda: observer.count(DEAD_LETTERS) >= len(story.bad()), PATIENCE, "every dead letter"
    )


def is_ready(story: Story, version: int) -> bool:
    """Whether a replica has said that a version is ready."""
    events = story.observer.events(MODEL_EVENTS, read_event)
    return any(isinstance(e, Ready) and e.version == version for e in events)


def unloadable(story: Story) -> list[Unloadable]:
    """What replicas have said that they cannot load."""
    events = story.observer.events(MODEL_EVENTS, read_event)
    return [event for event in events if isinstance(event, Unloadable)]


def settled(story: Story) -> set[Place]:
    """Windows whose truth the next window of their pump has brought: all but the last ones."""
    last = {record.key: record.place for record in story.good()}
    return {record.place for record in story.good()} - set(last.values())


def place_of(message: Message) -> Place:
    """Source partition and offset that a derived record says in its header."""
    return message.partition() or 0, int(header(list(message.headers() or []), SOURCE_OFFSET) or -1)


def test_every_bad_window_is_one_dead_letter(story: Story) -> None:
    """Original bytes, origin and reason, one for one, through a kill of the processor."""
    letters: Counter[Place] = Counter()
    by_place = {record.place: record for record in story.bad()}
    for message in story.observer.records(DEAD_LETTERS):
        headers: Any = message.headers()
        said = {name: header(headers, name) for name in (TOPIC, PARTITION, OFFSET, REASON, DETAIL)}
        assert said[TOPIC] == SENSOR_WINDOWS.name
        place = (int(said[PARTITION] or -1), int(said[OFFSET] or -1))
        letters[place] += 1
        original = by_place[place]
        value = message.value() or b""
        cut = cut_of([(name, text or b"") for name, text in headers])
        assert message.key() == original.key
        if cut is None:
            assert value == original.value
        else:  # it does not fit: a head of it, and the whole in the object store
            assert original.value.startswith(value)
            assert (cut.size, cut.sha256) == (
                len(original.value),
                sha256(original.value).hexdigest(),
            )
            assert ObjectStore(story.settings).get(cut.key or "") == original.value
        assert said[REASON] == original.reason
        assert said[DETAIL]
        assert message.partition() == original.partition
    assert letters == Counter(by_place.keys())
    assert len({record.reason for record in story.bad()}) >= 12


def test_every_good_window_is_predicted_once(story: Story) -> None:
    """For a `read_committed` reader: none missing, none twice, through kills of both."""
    predicted = Counter((p.source.partition, p.source.offset) for p in story.predictions())
    assert predicted == Counter(record.place for record in story.good())
    assert len({p.id for p in story.predictions()}) == len(predicted)


def test_predictions_are_about_the_windows_they_name(story: Story) -> None:
    """Persistence in whatever units gives the window's own last readings back."""
    windows = {record.place: record.window for record in story.good()}
    for prediction in story.predictions():
        window = windows[prediction.source.partition, prediction.source.offset]
        assert window is not None
        assert (prediction.asset, prediction.window_id) == (window.asset, window.id)
        last = window.values[-1, [0, 2]]
        np.testing.assert_allclose(np.array(prediction.persistence, float), last, rtol=1e-4)
        np.testing.assert_allclose(np.array(prediction.forecast, float), [last] * 3, rtol=1e-4)


def test_normalised_windows_and_predictions_keep_the_order(story: Story) -> None:
    """In each partition the source offsets rise, and none is written twice."""
    for topic in (NORMALIZED, PREDICTIONS):
        for partition in range(PARTITIONS):
            messages = [m for m in story.observer.records(topic) if m.partition() == partition]
            offsets = [place_of(message)[1] for message in messages]
            assert offsets == sorted(set(offsets))


def test_stamps_are_the_ledgers(story: Story) -> None:
    """The ledger explains every stamp, has each fence once, and epochs never step back."""
    ledger = story.ledger()
    assert Counter((e.partition, e.epoch) for e in ledger) == Counter(
        (partition, epoch) for partition in range(PARTITIONS) for epoch in range(1, 7)
    )
    stamps = Stamps()
    for entry in ledger:
        stamps.learn(entry)
    for window in story.normalised():
        fence = stamps.at("pump", window.source.partition, window.source.offset)
        assert (window.version, window.epoch) == (fence.version, fence.epoch)


def test_nothing_is_mixed(story: Story) -> None:
    """Each window runs on the version that it is stamped with, in that version's units."""
    units = {0: Normaliser.identity(3), 1: UNITS, 2: OTHER_UNITS}
    stamped = {(w.source.partition, w.source.offset): w for w in story.normalised()}
    windows = {record.place: record.window for record in story.good()}
    assert {w.epoch for w in stamped.values()} == {1, 2, 3, 5, 6}
    for place, window in stamped.items():
        original = windows[place]
        assert original is not None
        own = units[window.version]
        expected = own.apply(original.values, np.ones(3, np.bool_))
        np.testing.assert_array_equal(window.matrix(3), expected)
    for prediction in story.predictions():
        window = stamped[prediction.source.partition, prediction.source.offset]
        assert (prediction.stamped_version, prediction.epoch) == (window.version, window.epoch)
        assert prediction.normaliser_digest == units[prediction.version].digest
        assert prediction.version == (1 if window.version == 2 else window.version)


def test_swaps_are_fenced_within_seconds(story: Story) -> None:
    """From the registry's event until every partition, busy or idle, is stamped."""
    assert len(story.activations) == 5
    assert max(story.activations) < SWAP_SECONDS


def test_a_version_that_nobody_can_load_stops_nothing(story: Story) -> None:
    """It is said in the registry and to people, and the last good version answers."""
    (said,) = {(event.version, event.replica) for event in unloadable(story)}
    assert said == (2, "inference-0")
    assert "is not there" in unloadable(story)[0].detail
    alerts = story.observer.events(DRIFT_ALERTS, read_alert)
    (alert,) = [a for a in alerts if a.signal == "serving"]
    assert (alert.asset, alert.version, alert.severity) == ("*", 2, "critical")
    instead = [p for p in story.predictions() if p.stamped_version == 2]
    assert len(instead) == 20 * len(ASSETS)
    assert {p.version for p in instead} == {1}


def test_outcomes_are_complete(story: Story) -> None:
    """Every forecast whose interval was covered has its outcome, and repetitions agree."""
    places = {(o.source.partition, o.source.offset) for o in story.outcomes().values()}
    assert places == settled(story)
    first: dict[str, Outcome] = {}
    for outcome in story.observer.events(OUTCOMES, read_outcome):
        known = first.setdefault(outcome.id, outcome)
        assert msgspec.structs.replace(outcome, joined_at=known.joined_at) == known


def test_memory_is_that_of_an_undisturbed_run(
    story: Story, servers: embedded.Endpoints, tmp_path: Path
) -> None:
    """Join, detectors and outcomes after the kills equal a run that nothing happened to."""
    calm = settings_for(servers, tmp_path)
    client = producer(calm, {"message.max.bytes": 64 << 20})
    for topic in (MODEL_EVENTS, SERVING_LEDGER, PREDICTIONS):
        for message in story.observer.records(topic):
            client.produce(
                calm.named(topic.name),
                message.value(),
                message.key(),
                partition=message.partition() or 0,
            )
    for record in story.sent:
        send_again(client, calm, record)
    client.flush()
    through = {record.key: record.offset for record in story.good()}

    disturbed = Observer(story.settings, [CHANGELOG])
    disturbed.until(lambda: windows_through(disturbed) == through, PATIENCE, "all memory")
    processor = Service("millrace.stream_processors", calm, tmp_path)
    try:
        # Faust creates the changelog's topic when it starts.
        undisturbed = Observer(calm, [OUTCOMES, NORMALIZED], [processor])
        undisturbed.until(
            lambda: undisturbed.count(OUTCOMES) >= len(story.outcomes()), PATIENCE, "outcomes"
        )
        memory = Observer(calm, [CHANGELOG], [processor])
        expected = memories(disturbed)
        memory.until(
            lambda: (
                windows_through(memory) == through
                and {key: len(a.forecasts.open) for key, a in memories(memory).items()}
                == {key: len(a.forecasts.open) for key, a in expected.items()}
            ),
            PATIENCE,
            "all memory of the undisturbed run",
        )
    finally:
        processor.stop()
    found = memories(memory)
    for key, asset in expected.items():
        assert found[key].forecasts == asset.forecasts
        assert found[key].monitor.state() == asset.monitor.state()
        assert errors_seen(asset.monitor.state()) > 40
    outcomes = {o.id: o for o in undisturbed.events(OUTCOMES, read_outcome)}
    assert undisturbed.count(OUTCOMES) == len(outcomes) == len(story.outcomes())
    for name, outcome in story.outcomes().items():
        assert msgspec.structs.replace(outcomes[name], joined_at=outcome.joined_at) == outcome
    assert undisturbed.count(NORMALIZED) == len(story.good())


def memories(observer: Observer) -> dict[bytes, Asset]:
    """The latest memory of each asset in the changelog."""
    latest = {bytes(m.key() or b""): m.value() or b"" for m in observer.records(CHANGELOG)}
    return {key: Asset.restore(bytes(value)) for key, value in latest.items()}


def windows_through(observer: Observer) -> dict[bytes | None, int]:
    """How far each pump's memory has come."""
    return {
        key.split(b"\x1f")[1]: asset.windows_through for key, asset in memories(observer).items()
    }
