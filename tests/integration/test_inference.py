"""The inference consumer on a real broker: bad records, aborted and doubtful commits, fencing."""

import threading
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec
import pytest
import structlog
from confluent_kafka import KafkaException, Message, TopicPartition

from millrace.contracts.events.dead_letter import OFFSET, PARTITION, REASON, TOPIC
from millrace.contracts.events.model_event import Artefact
from millrace.contracts.events.normalized_window import NormalizedWindow
from millrace.contracts.events.prediction import Prediction
from millrace.contracts.headers import SOURCE_OFFSET, header
from millrace.contracts.topics import DEAD_LETTERS, NORMALIZED, PREDICTIONS
from millrace.contracts.wire.codec import EventReader
from millrace.contracts.wire.groups import INFERENCE
from millrace.inference.batch.reading import Reading, read
from millrace.inference.consumer import LOAD_SECONDS, InferenceConsumer, replica_name
from millrace.inference.kafka.commit_pipeline import State
from millrace.inference.kafka.transactions import TransactionalWriter, Undone, Unsure
from millrace.inference.serving.loader import AWAY_SECONDS, Loader
from millrace.inference.serving.networks import Networks
from millrace.inference.serving.servables import Servable, Servables
from millrace.infra.embedded.instance import choose_port
from millrace.infra.kafka.clients import admin, producer, reader
from millrace.infra.kafka.publisher import Publisher
from millrace.infra.kafka.retry import RetryPolicy
from millrace.infra.object_store import ObjectStore
from millrace.infra.progress.output_progress import FIRST_RECORDS, last_source_offsets
from millrace.infra.settings import Settings
from millrace.infra.topics.admin import create_topics
from millrace.registry.decisions import declare
from tests.builders import (
    AT,
    approved,
    pump_spec,
    pump_window,
    registered,
    source_of,
    stamped_window,
)
from tests.integration.foreign_writer import transactional_producer
from tests.integration.observing import Observer

SPEC = pump_spec()
#: Enough for any of the tests on a busy machine; none waits for it when it is done.
ROUNDS = 400

read_prediction = EventReader[Prediction](Prediction)


@dataclass
class Replica:
    """A consumer with its collaborators, run by the test itself."""

    consumer: InferenceConsumer
    stop: threading.Event

    def until(self, observer: Observer, predictions: int) -> None:
        """Work until so many predictions are there for a `read_committed` reader.

        Then, whatever has gone wrong, each record that was read has one fate that was counted.
        """
        for _ in range(ROUNDS):
            self.consumer.run_once()
            looks = iter((False, True))
            observer.until(lambda: next(looks), 10.0, "a look")  # noqa: B023  (called at once)
            if observer.count(PREDICTIONS) >= predictions and not self.consumer._balance.open:
                return
        assert self.consumer._balance.open == {}
        raise AssertionError(f"{observer.count(PREDICTIONS)} predictions of {predictions}")


@dataclass
class Bench:
    """A broker with a model that persistence serves."""

    settings: Settings
    loader: Loader
    servables: Servables
    observer: Observer

    def replica(self, name: str = "0") -> Replica:
        """Start a consumer; all of them have the same name, if they are not given another."""
        stop = threading.Event()
        settings = self.settings.model_copy(update={"replica": name})
        made = InferenceConsumer(settings, self.servables, self.loader, RetryPolicy(stop))
        return Replica(made, stop)

    def send(self, values: Sequence[bytes], partition: int = 0) -> None:
        """Write records for inference."""
        client = producer(self.settings)
        for value in values:
            client.produce(self.settings.named(NORMALIZED.name), value, b"pump-1", partition)
        client.flush()

    def predicted(self) -> Counter[tuple[int, int]]:
        """How often each source record has been predicted."""
        made = self.observer.events(PREDICTIONS, read_prediction)
        return Counter((p.source.partition, p.source.offset) for p in made)

    def committed(self, partition: int = 0) -> int:
        """The group's next offset."""
        client = reader(self.settings, {"group.id": self.settings.named(INFERENCE)})
        try:
            place = TopicPartition(self.settings.named(NORMALIZED.name), partition)
            return int(client.committed([place], 10.0)[0].offset)
        finally:
            client.close()


@pytest.fixture
def bench(settings: Settings) -> Iterator[Bench]:
    """Topics, and a registry with a pump model."""
    settings = settings.model_copy(update={"kafka_partitions": 2})
    create_topics(admin(settings), settings)
    store = ObjectStore(settings)
    publisher = Publisher(settings, "/millrace/test")
    for event in declare(SPEC, AT):
        publisher.send(event)
    servables = Servables()
    loader = Loader(settings, replica_name(settings), store, Networks(), servables)
    loader.step()
    observer = Observer(settings, [PREDICTIONS, DEAD_LETTERS])
    yield Bench(settings, loader, servables, observer)
    observer.close()


def packed(offset: int, partition: int = 0, **changes: object) -> bytes:
    """A window of a source record, on the wire; some fields changed."""
    window = stamped_window(pump_window(3 * offset), offset)
    return msgspec.msgpack.encode(
        msgspec.structs.replace(window, source=source_of(offset, partition), **changes)
    )


def test_bad_records_are_dead_letters_and_stop_nothing(bench: Bench) -> None:
    """Wrong lengths, impossible times, unknown models and plain rubbish; neighbours are read."""
    bad = {
        1: (b"rubbish", "undecodable"),
        3: (packed(3, values=b"\0" * 71), "wrong_shape"),
        5: (packed(5, present=b"\1"), "wrong_shape"),
        7: (packed(7, end_ms=1 << 60), "wrong_time"),
        9: (packed(9, 1), "wrong_source"),
    }
    bench.send([bad[i][0] if i in bad else packed(i) for i in range(12)])
    replica = bench.replica()
    replica.until(bench.observer, 12 - len(bad))
    bench.observer.until(lambda: bench.observer.count(DEAD_LETTERS) == len(bad), 30, "letters")
    replica.consumer.close()
    assert bench.predicted() == Counter((0, i) for i in range(12) if i not in bad)
    reasons = Counter(
        header(list(m.headers() or []), REASON) for m in bench.observer.records(DEAD_LETTERS)
    )
    assert reasons == Counter(reason for _, reason in bad.values())
    for message in bench.observer.records(DEAD_LETTERS):
        headers = list(message.headers() or [])
        assert all(header(headers, name) for name in (TOPIC, PARTITION, OFFSET))
    assert bench.committed() == 12


def test_a_stamp_that_the_registry_does_not_know_is_a_dead_letter(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The window is put aside, not met again and again by a process that dies of it."""
    monkeypatch.setattr("millrace.inference.consumer.LOAD_SECONDS", 0.0)
    bench.send([packed(0, model="nobody"), packed(1, version=77), packed(2)])
    replica = bench.replica()
    replica.until(bench.observer, 1)
    bench.observer.until(lambda: bench.observer.count(DEAD_LETTERS) == 2, 30, "letters")
    replica.consumer.close()
    assert bench.predicted() == Counter([(0, 2)])
    said = [header(list(m.headers() or []), REASON) for m in bench.observer.records(DEAD_LETTERS)]
    assert said == ["unknown_version"] * 2


class LosesTheAnswer(TransactionalWriter):
    """Commits, and does not learn of it: the answer is lost on its way."""

    def commit(self, offsets: list[TopicPartition], group: Any) -> None:
        """Commit, and be unsure."""
        super().commit(offsets, group)
        raise Unsure("the answer is lost")


class Aborts(TransactionalWriter):
    """Writes, and takes it back."""

    def commit(self, offsets: list[TopicPartition], group: Any) -> None:
        """Abort."""
        self._producer.send_offsets_to_transaction(offsets, group, 10)
        self._producer.abort_transaction(10)
        raise Undone("aborted")


def small_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a few windows fill a micro-batch, so that the next one is asked ahead of its answers."""
    for module in ("kafka.membership", "consumer"):
        monkeypatch.setattr(f"millrace.inference.{module}.MOST_WINDOWS", 4)


def launches(replica: Replica, monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """Notes of each micro-batch that is launched whether it is full: then it waited its turn."""
    noted: list[bool] = []
    consumer = replica.consumer
    launch = consumer._submit

    def note(asked: Any, newer: set[Any]) -> bool:
        noted.append(asked.size == 4)
        return launch(asked, newer)

    monkeypatch.setattr(consumer, "_submit", note)
    return noted


def test_a_backlog_is_answered_in_full_micro_batches(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each is asked before the one in front of it is written down; order and counts hold."""
    small_batches(monkeypatch)
    for partition in (0, 1):
        bench.send([packed(i, partition) for i in range(30)], partition)
    replica = bench.replica()
    ahead = launches(replica, monkeypatch)
    replica.until(bench.observer, 60)
    replica.consumer.close()
    assert any(ahead)
    assert bench.predicted() == Counter((p, i) for p in (0, 1) for i in range(30))
    for partition in (0, 1):
        made = bench.observer.events(PREDICTIONS, read_prediction)
        offsets = [p.source.offset for p in made if p.source.partition == partition]
        assert offsets == sorted(offsets)
        assert bench.committed(partition) == 30


def test_what_is_ahead_does_not_wait_for_the_version_of_others(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A full micro-batch is on its way before one waits for a version that is not loaded."""
    small_batches(monkeypatch)
    monkeypatch.setattr("millrace.inference.consumer.LOAD_SECONDS", 0.0)
    replica = bench.replica()
    launched = launches(replica, monkeypatch)
    waited: list[int] = []
    find = bench.servables.find

    def note(model: str, version: int, timeout: float) -> Servable | None:
        if version == 77:
            assert replica.consumer._pending is None
            waited.append(len(launched))
        return find(model, version, timeout)

    monkeypatch.setattr(bench.servables, "find", note)
    bench.send([packed(0), packed(1), packed(2), packed(3), packed(4, version=77), packed(5)])
    replica.until(bench.observer, 5)
    replica.consumer.close()
    assert waited == [1]
    assert bench.predicted() == Counter((0, i) for i in (0, 1, 2, 3, 5))


def test_what_was_asked_before_partitions_left_is_dropped(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A micro-batch that waits for its turn is not launched under a new owner; it comes again."""
    small_batches(monkeypatch)
    replica = bench.replica()
    bench.send([packed(0)])
    replica.until(bench.observer, 1)
    bench.send([packed(i) for i in range(1, 30)])
    for _ in range(ROUNDS):
        replica.consumer.run_once()
        if replica.consumer._pending is not None:
            break
    waiting = replica.consumer._pending
    assert waiting is not None
    replica.consumer._leave(set(waiting.reading.next_offsets))
    replica.consumer.run_once()
    assert replica.consumer._pending is None
    replica.until(bench.observer, 30)
    replica.consumer.close()
    assert bench.predicted() == Counter((0, i) for i in range(30))
    assert bench.committed() == 30


@pytest.mark.parametrize("kind", [LosesTheAnswer, Aborts])
@pytest.mark.parametrize("small", [False, True])
def test_a_micro_batch_that_fails_has_one_effect(
    bench: Bench, kind: type[TransactionalWriter], monkeypatch: pytest.MonkeyPatch, *, small: bool
) -> None:
    """Aborted, or committed without our knowledge: each window is predicted once."""
    if small:
        small_batches(monkeypatch)
    replica = bench.replica()
    bench.send([packed(i) for i in range(20)])
    replica.until(bench.observer, 20)
    replica.consumer._commits._writer.__class__ = kind
    bench.send([packed(i) for i in range(20, 40)])
    for _ in range(8):
        replica.consumer.run_once()
    replica.consumer._commits._writer.__class__ = TransactionalWriter
    bench.send([packed(i) for i in range(40, 50)])
    replica.until(bench.observer, 50)
    replica.consumer.close()
    assert bench.predicted() == Counter((0, i) for i in range(50))
    assert bench.committed() == 50


@pytest.mark.parametrize("kind", [LosesTheAnswer, Aborts])
def test_what_was_forecast_behind_a_micro_batch_that_fails_is_done_again(
    bench: Bench, kind: type[TransactionalWriter], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is dropped with it, and read again behind it: nothing is lost, nothing comes twice."""
    replica = bench.replica()
    bench.send([packed(i) for i in range(10)])
    replica.until(bench.observer, 10)
    reads: list[int] = []
    behind = threading.Event()

    def read_on(arrived: list[Message], answered: dict[int, int]) -> Reading:
        made = read(arrived, answered)
        reads.append(len(arrived))
        if len(reads) > 1:
            behind.set()
        return made

    class Waits(kind):  # type: ignore[misc, valid-type]  # (a class of the parameter)
        """Fails when the next micro-batch has been read."""

        def commit(self, offsets: list[TopicPartition], group: Any) -> None:
            """Wait, and fail."""
            assert behind.wait(60)
            super().commit(offsets, group)

    monkeypatch.setattr("millrace.inference.consumer.read", read_on)
    replica.consumer._commits._writer.__class__ = Waits
    for first, last in ((10, 30), (30, 45)):
        bench.send([packed(i) for i in range(first, last)])
        begun = len(reads)
        for _ in range(ROUNDS):
            replica.consumer.run_once()
            if len(reads) > begun:
                break
    assert reads == [20, 15]
    replica.consumer._commits._writer.__class__ = TransactionalWriter
    replica.until(bench.observer, 45)
    replica.consumer.close()
    assert sum(reads) > 45 - 10  # the second was read again
    assert bench.predicted() == Counter((0, i) for i in range(45))
    assert bench.committed() == 45


def test_a_partition_is_handed_over_when_its_last_micro_batch_is_over(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A second replica joins while the first one writes: each window is predicted once."""
    first = bench.replica()
    for partition in (0, 1):
        bench.send([packed(i, partition) for i in range(5)], partition)
    first.until(bench.observer, 10)
    leaving = threading.Event()
    writing = threading.Event()
    leave = first.consumer._leave

    def let_go(partitions: Iterable[int]) -> None:
        leaving.set()
        leave(partitions)
        assert first.consumer._commits.state is State.ENDED

    class Waits(TransactionalWriter):
        """Commits when a partition is asked back."""

        def commit(self, offsets: list[TopicPartition], group: Any) -> None:
            """Wait, and commit."""
            writing.set()
            assert leaving.wait(60)
            super().commit(offsets, group)

    monkeypatch.setattr(first.consumer._membership, "_leave", let_go)
    first.consumer._commits._writer.__class__ = Waits
    bench.send([packed(i) for i in range(5, 10)])  # one micro-batch, so nothing waits behind it
    for _ in range(ROUNDS):
        first.consumer.run_once()
        if writing.is_set():
            break
    second = bench.replica("second")
    for _ in range(ROUNDS):
        first.consumer.run_once()
        second.consumer.run_once()
        if leaving.is_set() and first.consumer._recovered and second.consumer._recovered:
            break
    bench.send([packed(i) for i in range(10, 15)])
    bench.send([packed(i, 1) for i in range(5, 15)], 1)
    for _ in range(ROUNDS):
        first.consumer.run_once()
        second.consumer.run_once()
        looks = iter((False, True))
        bench.observer.until(lambda: next(looks), 10.0, "a look")  # noqa: B023  (called at once)
        if bench.observer.count(PREDICTIONS) >= 30:
            break
    owned = [set(replica.consumer._membership.owned) for replica in (first, second)]
    second.consumer.close()
    first.consumer.close()
    assert sorted(map(len, owned)) == [1, 1]
    assert bench.predicted() == Counter((p, i) for p in (0, 1) for i in range(15))


def test_a_transaction_that_the_broker_has_ended_is_done_again(bench: Bench) -> None:
    """Refused like a stranger, but nobody has its place in the group: it begins again itself."""
    replica = bench.replica()
    bench.send([packed(i) for i in range(10)])
    replica.until(bench.observer, 10)
    # What a broker does to a transaction that has run out of time: a new epoch of the producer.
    transactional_producer(bench.settings, f"millrace.{replica_name(bench.settings)}")
    bench.send([packed(i) for i in range(10, 30)])
    replica.until(bench.observer, 30)
    replica.consumer.close()
    assert bench.predicted() == Counter((0, i) for i in range(30))


def test_of_two_processes_with_one_name_one_ends(bench: Bench) -> None:
    """Each takes the place back once; nothing is answered twice or forgotten meanwhile."""
    old = bench.replica()
    bench.send([packed(i) for i in range(10)])
    old.until(bench.observer, 10)
    new = bench.replica()
    alive = [old, new]
    for i in range(ROUNDS):
        bench.send([packed(10 + i)])
        for replica in list(alive):
            try:
                replica.consumer.run_once()
            except KafkaException:
                alive.remove(replica)
        if len(alive) == 1:
            break
    (left,) = alive
    left.until(bench.observer, 11 + i)
    left.consumer.close()
    assert bench.predicted() == Counter((0, j) for j in range(11 + i))


def test_a_replica_that_lost_its_place_to_itself_goes_on(bench: Bench) -> None:
    """The broker has made it another member, and refuses the one that it takes itself to be."""
    replica = bench.replica()
    bench.send([packed(i) for i in range(10)])
    replica.until(bench.observer, 10)
    usurper = replica.consumer._membership._connected()
    usurper.subscribe([bench.settings.named(NORMALIZED.name)])
    for _ in range(ROUNDS):
        usurper.poll(0.05)
        if usurper.assignment():
            break
    usurper.close()  # stays in the group, as a member with a name of its own does
    lost = replica.consumer._membership.client
    bench.send([packed(i) for i in range(10, 30)])
    replica.until(bench.observer, 30)
    assert replica.consumer._membership.client is not lost
    replica.consumer.close()
    assert bench.predicted() == Counter((0, i) for i in range(30))


def test_what_comes_twice_is_answered_once(bench: Bench) -> None:
    """Repeated by the stream processor within a life of the replica, and over two."""
    bench.send([packed(i) for i in (0, 1, 2, 1, 2, 3)])
    first = bench.replica()
    first.until(bench.observer, 4)
    first.consumer.close()
    bench.send([packed(i) for i in (2, 3, 4)])
    second = bench.replica()
    second.until(bench.observer, 5)
    second.consumer.close()
    assert bench.predicted() == Counter((0, i) for i in range(5))
    assert msgspec.msgpack.decode(packed(1), type=NormalizedWindow).source.offset == 1


def test_partitions_are_known_before_their_first_window(bench: Bench) -> None:
    """A replica that starts learns what has been answered without waiting for a window."""
    first = bench.replica()
    bench.send([packed(i) for i in range(10)])
    first.until(bench.observer, 10)
    first.consumer.close()
    second = bench.replica()
    for _ in range(ROUNDS):
        if second.consumer._recovered == {0, 1}:
            break
        second.consumer.run_once()
    answered = dict(second.consumer._answered)
    second.consumer.close()
    assert answered == {0: 9}


def test_what_has_been_answered_is_found_at_once_in_all_partitions(bench: Bench) -> None:
    """Behind marks of transactions and aborted predictions, too; without a wait for each."""
    settings = bench.settings
    writer = transactional_producer(settings, "somebody")
    topic = settings.named(PREDICTIONS.name)

    def write(offset: int, partition: int, *, commit: bool = True) -> None:
        writer.begin_transaction()
        headers: list[tuple[str, str | bytes]] = [(SOURCE_OFFSET, str(offset))]
        writer.produce(topic, b"", b"pump-1", partition, headers=headers)
        writer.flush()
        if commit:
            writer.commit_transaction(10)
        else:
            writer.abort_transaction(10)

    assert last_source_offsets(settings, PREDICTIONS, [0, 1]) == {}
    write(7, 0)
    for _ in range(FIRST_RECORDS):  # an aborted record and a mark each
        write(8, 0, commit=False)
    write(5, 1)
    write(6, 1)
    began = time.monotonic()
    assert last_source_offsets(settings, PREDICTIONS, [0, 1]) == {0: 7, 1: 6}
    assert time.monotonic() - began < 2.0


def test_an_object_store_that_refuses_is_not_waited_for_long(bench: Bench) -> None:
    """The last good version answers in the stead of one that cannot be fetched; told once."""
    settings = bench.settings.model_copy(
        update={"s3_endpoint": f"http://127.0.0.1:{choose_port()}"}
    )
    publisher = Publisher(settings, "/millrace/test")
    artefact = Artefact(prefix="models/pump/1", digest="0" * 64)
    for event in (registered(1, artefact=artefact), approved(1)):
        publisher.send(event)
    stop = threading.Event()
    servables = Servables(stop)
    loader = Loader(settings, "inference-0", ObjectStore(settings), Networks(), servables)
    with structlog.testing.capture_logs() as said:
        thread = threading.Thread(target=loader.run, args=(stop,))
        thread.start()
        began = time.monotonic()
        try:
            assert servables.find("pump", 1, LOAD_SECONDS) is None
            took = time.monotonic() - began
            instead = loader.fallback("pump", 1)
        finally:
            stop.set()
            thread.join(30)
    assert AWAY_SECONDS < took < LOAD_SECONDS / 2
    assert instead is not None
    assert instead[0].version == 0
    assert [one["event"] for one in said].count("cannot fetch a version yet") == 1
