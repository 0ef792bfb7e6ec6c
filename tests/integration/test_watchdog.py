"""The watchdog against a real broker: it ends who is stuck, and nobody else."""

from __future__ import annotations

import os
import subprocess
import sys
import threading

import pytest
from confluent_kafka import TopicPartition

from millrace.contracts.topics import SENSOR_WINDOWS
from millrace.infra.kafka.clients import admin, consumer, producer
from millrace.infra.kafka.place import Place
from millrace.infra.local.waiting import wait_until
from millrace.infra.process.exit_status import BROKEN
from millrace.infra.process.watchdog import Watchdog
from millrace.infra.progress.group_offsets import LAG, GroupOffsets
from millrace.infra.settings import Settings
from millrace.infra.topics.admin import create_topics
from tests.integration.foreign_writer import transactional_producer
from tests.integration.observing import environment
from tests.places import PROJECT

pytestmark = pytest.mark.timeout(60)
GROUP = "millrace.some-service"


@pytest.fixture
def place(settings: Settings) -> Place:
    """A partition of a topic that is there."""
    create_topics(admin(settings), settings, [SENSOR_WINDOWS])
    return Place(settings.named(SENSOR_WINDOWS.name), 0)


def send(settings: Settings, place: Place, count: int) -> None:
    """Write records that belong to no transaction."""
    client = producer(settings)
    for _ in range(count):
        client.produce(place.topic, b"x", partition=place.partition)
    assert client.flush(10) == 0


def commit(settings: Settings, place: Place, offset: int) -> None:
    """Commit for the group."""
    client = consumer(settings, GROUP)
    client.commit(offsets=[TopicPartition(*place, offset)], asynchronous=False)
    client.close()


class Ended:
    """Takes the place of the process's end."""

    def __init__(self) -> None:
        self.why: str | None = None
        self.happened = threading.Event()

    def __call__(self, why: str) -> None:
        """Note it."""
        self.why = why
        self.happened.set()


def watch(settings: Settings, place: Place, ended: Ended) -> Watchdog:
    """Watch a partition, with little patience."""
    made = Watchdog(
        settings, GROUP, lambda: {place}, stall_seconds=1.0, every_seconds=0.2, end=ended
    )
    made.start()
    return made


def test_lag_without_commits_ends_the_process(settings: Settings, place: Place) -> None:
    """It says which partition, and where it stands."""
    send(settings, place, 5)
    commit(settings, place, 2)
    ended = Ended()
    watch(settings, place, ended)
    assert ended.happened.wait(30)
    assert ended.why is not None
    assert ended.why.endswith(f"{place} stands at 2 of 5")


def test_marks_and_aborted_records_are_no_lag(settings: Settings, place: Place) -> None:
    """A log's end lies behind the last record that anybody can read; that is looked at once."""
    writer = transactional_producer(settings, "writer")
    for end in (writer.commit_transaction, writer.abort_transaction):
        writer.begin_transaction()
        writer.produce(place.topic, b"x", partition=place.partition)
        writer.flush(10)
        end(10)
    commit(settings, place, 1)
    ended = Ended()
    watchdog = watch(settings, place, ended)
    empty = watchdog._offsets._empty
    wait_until(lambda: empty.next_unknown(place, 1) == 4, "a look at what is there", seconds=30)
    assert watchdog._offsets.progress({place}) == {place: (4, 4)}
    send(settings, place, 1)
    assert ended.happened.wait(30), "a record after them is lag again"


def test_a_record_that_came_after_the_count_began_is_not_its_evidence(
    settings: Settings, place: Place
) -> None:
    """The marker was there all the time; the record behind it has only just come."""
    writer = transactional_producer(settings, "writer")
    writer.begin_transaction()
    writer.produce(place.topic, b"x", partition=place.partition)
    writer.commit_transaction(10)
    offsets = GroupOffsets(settings, GROUP)
    commit(settings, place, 1)
    send(settings, place, 1)
    assert not offsets.has_record(place, 1, 2)
    assert offsets.progress({place}) == {place: (2, 3)}
    assert offsets.has_record(place, 2, 3)


def test_lag_is_what_can_be_read(settings: Settings, place: Place) -> None:
    """Records only: markers and aborted records are none; 0 where the log ends in a marker."""
    writer = transactional_producer(settings, "writer")
    for end in (writer.commit_transaction, writer.abort_transaction, writer.commit_transaction):
        writer.begin_transaction()
        writer.produce(place.topic, b"x", partition=place.partition)
        writer.flush(10)
        end(10)
    offsets = GroupOffsets(settings, GROUP)
    for committed, lag in ((0, 2), (1, 1), (5, 0)):
        commit(settings, place, committed)
        progress = offsets.progress({place})
        assert progress is not None
        assert offsets.lags(progress, settled=True) == {place: lag}
    shown = LAG.labels(GROUP, SENSOR_WINDOWS.name, "0")
    offsets.show(offsets.progress({place}) or {})
    assert shown._value.get() == 0
    send(settings, place, 100)
    assert offsets.lags(offsets.progress({place}) or {}, settled=True) == {place: 100}
    offsets.show({})
    assert not [s for family in LAG.collect() for s in family.samples if s.labels["group"] == GROUP]
    offsets.close()


HANGING = """
from millrace.infra.process.logs import configure_logs
from millrace.infra.settings import Settings
from millrace.infra.kafka.place import Place
from millrace.infra.process.watchdog import Watchdog
settings = Settings.read()
configure_logs(settings)
place = Place({topic!r}, 0)
Watchdog(settings, {group!r}, lambda: {{place}}, stall_seconds=1.0, every_seconds=0.2).start()
while True:
    pass
"""


def test_a_process_whose_main_thread_hangs_is_ended(settings: Settings, place: Place) -> None:
    """With the status that asks for a restart, and one line that says what and where."""
    send(settings, place, 1)
    done = subprocess.run(
        [sys.executable, "-c", HANGING.format(topic=place.topic, group=GROUP)],
        cwd=PROJECT,
        env={**os.environ, **environment(settings)},
        capture_output=True,
        text=True,
        timeout=40,
        check=False,
    )
    assert done.returncode == BROKEN, done.stderr
    (line,) = done.stderr.splitlines()
    assert "the process is ended" in line
    assert f"{place} stands at 0 of 1" in line
    assert "<string>" in line
