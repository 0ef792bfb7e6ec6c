"""Incarnations of topics on a real broker: created anew, cut, grown again, kept."""

import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from millrace.contracts.events.topic_epoch import PER_INCARNATION
from millrace.contracts.topics import PREDICTIONS, SENSOR_WINDOWS, TOPIC_EPOCHS
from millrace.infra.kafka.clients import admin, producer
from millrace.infra.settings import Settings
from millrace.infra.topics.admin import create_topics
from millrace.infra.topics.epochs import TopicEpochs
from millrace.infra.topics.ids import member_name
from millrace.infra.topics.partitions import Step, grow
from tests.integration.own_broker import Broker
from tests.log_files import cut_log
from tests.topics import create_anew

pytestmark = pytest.mark.timeout(180)
DECLARED = [SENSOR_WINDOWS, PREDICTIONS, TOPIC_EPOCHS]


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Broker]:
    """A broker of the test's own."""
    broker = Broker(tmp_path)
    try:
        broker.start()
        yield broker
    finally:
        broker.kill()


@pytest.fixture
def own(broker: Broker) -> Settings:
    """Settings that reach it; the topics are there."""
    settings = Settings.read(kafka_bootstrap_servers=f"127.0.0.1:{broker.port}", kafka_partitions=2)
    create_topics(admin(settings), settings, DECLARED)
    return settings


def send(settings: Settings, count: int) -> None:
    """Write records to the first partition, in batches of 50 at most."""
    client = producer(settings, {"batch.num.messages": 50, "linger.ms": 50})
    for number in range(count):
        client.produce(settings.named(SENSOR_WINDOWS.name), b"%d" % number, partition=0)
    assert client.flush(30) == 0


def looked_at(settings: Settings, known: int) -> TopicEpochs:
    """Somebody who has processed so many records of each partition looks at the topic."""
    epochs = TopicEpochs(settings, "/millrace/test")
    epochs.verify(SENSOR_WINDOWS, {0: known, 1: 0})
    return epochs


def test_a_topic_that_is_there_keeps_its_incarnation(broker: Broker, own: Settings) -> None:
    """Restarts of the broker raise leader epochs; positions stay offsets, whoever looks."""
    send(own, 100)
    first = looked_at(own, 100)
    broker.kill()
    broker.start()
    send(own, 100)
    again = looked_at(own, 100)
    assert again.lineage(SENSOR_WINDOWS, 0).incarnation == 0
    again.note(SENSOR_WINDOWS, 0, 2, 100)
    assert looked_at(own, 200).lineage(SENSOR_WINDOWS, 0).position(199) == 199
    first.refresh()
    assert first.lineage(SENSOR_WINDOWS, 0).last == again.lineage(SENSOR_WINDOWS, 0).last


def test_a_topic_that_was_created_anew_is_another_incarnation(own: Settings) -> None:
    """Both partitions begin it, and the second one to look learns of it from the topic."""
    send(own, 100)
    looked_at(own, 100)
    create_anew(own, SENSOR_WINDOWS)
    send(own, 300)
    for _ in range(2):
        epochs = looked_at(own, 100)
        assert epochs.lineage(SENSOR_WINDOWS, 0).position(0) == PER_INCARNATION
        assert epochs.lineage(SENSOR_WINDOWS, 1).incarnation == 1


@pytest.mark.parametrize("grown", [0, 30, 400])
def test_a_log_that_lost_its_end_is_another_incarnation_from_there_on(
    broker: Broker, own: Settings, tmp_path: Path, grown: int
) -> None:
    """However far it has grown since: records that are left are known, the new ones are new."""
    send(own, 200)
    looked_at(own, 200)
    broker.kill(signal.SIGTERM)
    left = cut_log(tmp_path / "kafka" / "data", own.named(SENSOR_WINDOWS.name), 0, 120)
    broker.start()
    send(own, grown)
    lineage = looked_at(own, 200).lineage(SENSOR_WINDOWS, 0)
    assert lineage.incarnation == 1
    assert (lineage.position(left - 1), lineage.position(left)) == (
        left - 1,
        PER_INCARNATION + left,
    )
    assert lineage.start(committed=200, incarnation=0) == left
    assert looked_at(own, PER_INCARNATION + left).lineage(SENSOR_WINDOWS, 0).incarnation == 1


def test_a_member_has_another_name_once_its_topic_is_another(own: Settings) -> None:
    """The same one while nothing changes; others after a growth and after a new creation."""
    topics = [SENSOR_WINDOWS, PREDICTIONS]
    names = [member_name(own, "reader", topics) for _ in range(2)]
    grow(admin(own), Step(own.named(PREDICTIONS.name), 2, 3))
    names.append(member_name(own, "reader", topics))
    create_anew(own, SENSOR_WINDOWS)
    names.append(member_name(own, "reader", topics))
    assert names[0] == names[1]
    assert len(set(names)) == 3
