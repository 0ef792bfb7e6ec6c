"""One micro-batch is under way at a time, and what went wrong with it is known before the next."""

import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, cast

import pytest
from confluent_kafka import KafkaError, KafkaException, TopicPartition

from millrace.contracts.topics import DEAD_LETTERS, PREDICTIONS
from millrace.inference.batch.reading import Reading
from millrace.inference.batch.records import Record
from millrace.inference.batch.results import MicroBatchResults
from millrace.inference.kafka.commit_pipeline import Batch, CommitPipeline, State
from millrace.inference.kafka.transactions import TransactionalWriter, Undone, Unsure
from millrace.inference.serving.servables import Persistence, Servable
from millrace.infra.process.fault_points import InjectedError, arm
from millrace.infra.progress.balance import Balance
from tests.builders import UNITS, pump_spec, pump_window, stamped_window

LONG = 30.0
REFUSED: Record = (DEAD_LETTERS.name, b"pump-1", b"rubbish", [], 0)


class Broker:
    """Takes micro-batches when it is allowed to, or fails as it is told."""

    def __init__(self) -> None:
        """Allow everything."""
        self.written: list[list[Record]] = []
        self.places: list[list[TopicPartition]] = []
        self.allowed = threading.Event()
        self.allowed.set()
        self.produced: list[Record] = []
        self.refusals: list[Exception] = []
        self.failures: list[Exception] = []

    def produce(self, records: Iterable[Record]) -> None:
        """Take a micro-batch; see `TransactionalWriter.produce`."""
        if self.refusals:
            raise self.refusals.pop(0)
        self.produced = list(records)

    def commit(self, offsets: list[TopicPartition], group: Any) -> None:
        """Commit it; see `TransactionalWriter.commit`."""
        assert group == "the group"
        assert self.allowed.wait(LONG)
        if self.failures:
            raise self.failures.pop(0)
        self.written.append(self.produced)
        self.places.append(offsets)

    def close(self) -> None:
        """Send no more; see `TransactionalWriter.close`."""


@pytest.fixture
def broker() -> Broker:
    """Where micro-batches go."""
    return Broker()


@pytest.fixture
def balance() -> Balance:
    """The records of one micro-batch have been read."""
    made = Balance("test.pipeline")
    made.read(0, 2)
    made.read(2, 3)
    return made


@pytest.fixture
def pipeline(broker: Broker, balance: Balance) -> Iterator[CommitPipeline]:
    """Nothing is under way yet."""
    made = CommitPipeline(lambda: cast(TransactionalWriter, broker), balance)
    yield made
    broker.allowed.set()
    made.close(LONG)


@pytest.fixture
def batch() -> Iterator[Callable[[], Batch]]:
    """Makes a micro-batch of a window and of a record that is none, of partitions 0 and 2."""
    spec = pump_spec()
    servable = Servable(spec, 1, UNITS, "digest", Persistence(spec))
    with ThreadPoolExecutor(1) as network:

        def make() -> Batch:
            windows = [stamped_window(pump_window(), 0, version=1, units=UNITS)]
            answers = MicroBatchResults(windows, network)
            answers.ask(servable, None, [0])
            reading = Reading(windows, [REFUSED], {0: 0}, {2: 3}, {0: 1, 2: 8})
            return Batch(reading, answers, [TopicPartition("topic", 0, 1)], "the group", 2, 0)

        yield make


def submit(pipeline: CommitPipeline, batch: Batch) -> None:
    """Launch a micro-batch with all that is said about it."""
    pipeline.submit(batch, [*batch.answers.records(), *batch.reading.refused])


def test_a_micro_batch_is_written_whole(
    pipeline: CommitPipeline, broker: Broker, batch: Callable[[], Batch]
) -> None:
    """Predictions first, then the dead letters, and the offsets of all of them."""
    assert pipeline.result() is None
    assert pipeline.state is State.IDLE
    submit(pipeline, batch())
    assert pipeline.result() is None
    ((first, last),) = broker.written
    assert first[0] == PREDICTIONS.name
    assert last == REFUSED
    assert [(place.partition, place.offset) for place in broker.places[0]] == [(0, 1)]


def test_a_record_has_its_fate_once_it_is_committed(
    pipeline: CommitPipeline, broker: Broker, balance: Balance, batch: Callable[[], Batch]
) -> None:
    """Under way it still waits, and is not undone with the rest; predicted, refused, repeated."""
    broker.allowed.clear()
    submit(pipeline, batch())
    assert pipeline.under_way == {0: 2, 2: 3}
    balance.read(0, 4)
    balance.undo(pipeline.under_way)
    assert balance.open == {0: 2, 2: 3}
    broker.allowed.set()
    assert pipeline.result() is None
    assert balance.open == {}
    assert pipeline.under_way == {}


@pytest.mark.parametrize("why", [Undone("aborted"), Unsure("fenced")])
def test_what_has_failed_waits_until_it_is_undone(
    pipeline: CommitPipeline,
    broker: Broker,
    balance: Balance,
    batch: Callable[[], Batch],
    why: Undone | Unsure,
) -> None:
    """Nothing is counted of a micro-batch that is not committed; it is read again."""
    broker.failures = [why]
    submit(pipeline, batch())
    assert pipeline.result() is not None
    assert balance.open == {0: 2, 2: 3}
    balance.undo(pipeline.under_way)
    assert balance.open == {}


def test_the_caller_goes_on_meanwhile(
    pipeline: CommitPipeline, broker: Broker, batch: Callable[[], Batch]
) -> None:
    """Launching does not wait for the broker; landing does; a second one has to be landed for."""
    broker.allowed.clear()
    submit(pipeline, batch())
    with pytest.raises(RuntimeError):
        submit(pipeline, batch())
    broker.allowed.set()
    pipeline.wait()
    assert pipeline.state is State.ENDED
    assert pipeline.result() is None
    submit(pipeline, batch())
    assert pipeline.result() is None
    assert len(broker.written) == 2


@pytest.mark.parametrize("why", [Undone("aborted"), Unsure("fenced")])
def test_what_cannot_be_produced_is_a_failure_like_any_other(
    pipeline: CommitPipeline, broker: Broker, batch: Callable[[], Batch], why: Undone | Unsure
) -> None:
    """Its result says so, and nothing of it is committed."""
    broker.refusals = [why]
    submit(pipeline, batch())
    assert pipeline.state is State.ENDED
    failed = pipeline.result()
    assert failed is not None
    assert failed.partitions == {0, 2}
    assert failed.why is why
    assert broker.written == []
    submit(pipeline, batch())
    assert pipeline.result() is None


@pytest.mark.parametrize("why", [Undone("aborted"), Unsure("fenced")])
def test_a_failure_names_the_partitions_to_go_back_to(
    pipeline: CommitPipeline, broker: Broker, batch: Callable[[], Batch], why: Undone | Unsure
) -> None:
    """All that were read, answered or not; the next micro-batch is a new attempt."""
    broker.failures = [why]
    submit(pipeline, batch())
    failed = pipeline.result()
    assert failed is not None
    assert failed.partitions == {0, 2}
    assert failed.why is why
    assert pipeline.result() is None


def test_a_commit_without_an_end_is_left_behind(
    broker: Broker, balance: Balance, batch: Callable[[], Batch]
) -> None:
    """The client may never return; another writer and another thread take its place."""
    second = Broker()
    writers = iter([broker, second])
    pipeline = CommitPipeline(
        lambda: cast(TransactionalWriter, next(writers)), balance, seconds=0.05
    )
    broker.allowed.clear()
    submit(pipeline, batch())
    pipeline.wait()
    assert pipeline.state is State.OVERDUE
    failed = pipeline.result()
    assert failed is not None
    assert failed.partitions == {0, 2}
    assert isinstance(failed.why, Unsure)
    pipeline.renew()
    submit(pipeline, batch())
    assert pipeline.result() is None
    assert len(second.written) == 1
    broker.allowed.set()
    pipeline.close(LONG)


def test_broken_machinery_is_told_where_it_is_landed(
    pipeline: CommitPipeline, broker: Broker, batch: Callable[[], Batch]
) -> None:
    """It does not die unseen on the thread that it happens on."""
    broker.failures = [KafkaException(KafkaError(KafkaError.TOPIC_AUTHORIZATION_FAILED))]
    submit(pipeline, batch())
    with pytest.raises(KafkaException):
        pipeline.result()


def test_a_fault_that_was_asked_for_comes_before_the_output(
    pipeline: CommitPipeline, broker: Broker, batch: Callable[[], Batch], tmp_path: Path
) -> None:
    """Whoever launches hears of it."""
    arm("inference.before-output@2=raise", tmp_path)
    try:
        submit(pipeline, batch())
        assert pipeline.result() is None
        with pytest.raises(InjectedError):
            submit(pipeline, batch())
    finally:
        arm("", tmp_path)
    assert len(broker.written) == 1
