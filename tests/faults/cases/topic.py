"""Topics that are created anew, lose their end, or expire before they were read."""

from __future__ import annotations

import signal
from collections.abc import Mapping
from typing import Final

from confluent_kafka import TopicPartition

from millrace.contracts.topics import DEAD_LETTERS, NORMALIZED, SENSOR_WINDOWS, Topic
from millrace.infra.kafka.clients import admin, reader, watermarks
from millrace.infra.local.programs import INFERENCE, STREAM_PROCESSOR
from tests import topics
from tests.faults.cases.case import case
from tests.faults.harness.plant import PARTITIONS, Plant
from tests.faults.harness.servers import KAFKA
from tests.faults.oracle.evidence import ledger_of
from tests.log_files import cut_log

_SOME: Final = 100
_RATE: Final = 100.0
_ANSWER_SECONDS: Final = 30.0
#: What is said of records that expired before they were read.
_LOST: Final = "records lost to retention"


@case("topic/recreated", own_plant=True, compares_state=False)
def windows_are_created_anew(plant: Plant) -> None:
    """`sensor.windows` is deleted and created under running services; new windows follow."""
    plant.source.send(4 * _SOME)
    plant.quiet()
    create_anew(plant)
    plant.fault()
    plant.source.send(6 * _SOME)
    plant.until_predicted(_SOME)


@case("topic/recreated-unseen", own_plant=True, compares_state=False)
def windows_are_created_anew_while_nobody_looks(plant: Plant) -> None:
    """The same while the stream processor is away: more new windows than there were old ones."""
    plant.source.send(4 * _SOME)
    plant.quiet()
    plant[STREAM_PROCESSOR].stop()
    create_anew(plant)
    plant.source.send(6 * _SOME)
    plant[STREAM_PROCESSOR].start()
    plant.fault()
    with plant.source.flowing(_RATE):
        plant.until_recovered()


@case("topic/truncated", own_servers=True, compares_state=False)
def a_log_loses_its_end(plant: Plant) -> None:
    """A broker comes back without the last records of a partition; new ones take their offsets."""
    plant.source.send(8 * _SOME)
    plant.quiet()
    _cut(plant, partition=0, lost=_SOME)
    plant.fault()
    plant.source.send(8 * _SOME)
    with plant.source.flowing(_RATE):
        plant.until_recovered()


@case("topic/truncated-unseen", own_servers=True, compares_state=False)
def a_log_loses_its_end_while_nobody_looks(plant: Plant) -> None:
    """The same, and the log has grown beyond where it was before the stream processor looks."""
    plant.source.send(8 * _SOME)
    plant.quiet()
    plant[STREAM_PROCESSOR].stop()
    _cut(plant, partition=0, lost=_SOME)
    plant.source.send(12 * _SOME)
    plant[STREAM_PROCESSOR].start()
    plant.fault()
    with plant.source.flowing(_RATE):
        plant.until_recovered()


@case("topic/retention-passed", own_plant=True, compares_state=False)
def windows_expire_before_they_are_read(plant: Plant) -> None:
    """Raw and stamped windows expire unread: each group says which ones, and goes on."""
    plant.source.spoils = False
    for program, topic in ((STREAM_PROCESSOR, SENSOR_WINDOWS), (INFERENCE, NORMALIZED)):
        plant.source.send(_SOME)
        plant.quiet()
        plant[program].stop()
        before = _ends(plant, topic)
        sent = len(plant.source.sent)
        plant.source.send(2 * _SOME)
        lost = {one.window.id for one in plant.source.sent[sent:] if one.window is not None}
        plant.until(
            lambda before=before, topic=topic: (  # type: ignore[misc]
                sum(_ends(plant, topic).values()) - sum(before.values()) >= 2 * _SOME
            ),
            f"{2 * _SOME} records in {topic.name}",
        )
        _expire(plant, topic)
        plant.excused |= lost
        plant[program].start()
        plant.fault()
        with plant.source.flowing(_RATE):
            plant.until_recovered()
        plant.expect(_LOST in plant[program].log(), f"{program} does not say what it has lost")


@case("ledger/quiet", own_plant=True, compares_state=False)
def a_swap_after_a_quiet_time(plant: Plant) -> None:
    """All outputs have expired when a version is swapped in: fences are not before the windows."""
    plant.source.send(4 * _SOME)
    plant.quiet()
    plant[STREAM_PROCESSOR].stop()
    for topic in (NORMALIZED, DEAD_LETTERS):
        _expire(plant, topic)
    plant[STREAM_PROCESSOR].start()
    version = plant.make_version()
    plant.await_ready(version)
    epoch = plant.activate(version)
    plant.await_fences(epoch)
    ends = _ends(plant, SENSOR_WINDOWS)
    firsts = {e.partition: e.first_offset for e in ledger_of(plant.observer) if e.epoch == epoch}
    plant.expect(firsts == ends, f"fences at {firsts}, and the windows end at {ends}")
    with plant.source.flowing(_RATE):
        plant.until_predicted(_SOME)


def create_anew(plant: Plant) -> None:
    """Delete `sensor.windows`, create it again, and have source and observer use that."""
    plant.source.spread(plant.settings)  # by a client that has not seen the topic yet
    plant.observer.leave()
    topics.create_anew(plant.settings, SENSOR_WINDOWS)
    plant.observer.begin_again(SENSOR_WINDOWS, dict.fromkeys(range(PARTITIONS), 0))
    plant.forgotten.add(SENSOR_WINDOWS.name)


def _cut(plant: Plant, *, partition: int, lost: int) -> None:
    """Have a partition of `sensor.windows` lose at least so many records with its broker."""
    servers = plant.servers
    assert servers is not None
    end = _ends(plant, SENSOR_WINDOWS)[partition]
    servers.kill(KAFKA, signal.SIGTERM)
    name = plant.settings.named(SENSOR_WINDOWS.name)
    first = cut_log(servers.home / "kafka" / "data", name, partition, end - lost)
    plant.observer.begin_again(SENSOR_WINDOWS, {partition: first})
    servers.start(KAFKA)
    plant.forgotten.add(SENSOR_WINDOWS.name)
    plant.source.spread(plant.settings)


def _ends(plant: Plant, topic: Topic) -> dict[int, int]:
    """Where the partitions of a topic end."""
    client = reader(plant.settings)
    try:
        name = plant.settings.named(topic.name)
        return {p: watermarks(client, TopicPartition(name, p))[1] for p in range(PARTITIONS)}
    finally:
        client.close()


def _expire(plant: Plant, topic: Topic) -> None:
    """Have all records of a topic expire now."""
    ends: Mapping[int, int] = _ends(plant, topic)
    places = [TopicPartition(plant.settings.named(topic.name), *place) for place in ends.items()]
    client = admin(plant.settings)  # held here: its answers would never come without it
    for done in client.delete_records(places).values():
        done.result(_ANSWER_SECONDS)
