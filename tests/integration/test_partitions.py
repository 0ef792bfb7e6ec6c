"""Growing the topics keyed by asset, on a real broker."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading

import pytest
from confluent_kafka.admin import AdminClient

from millrace.contracts.errors import ServerError
from millrace.contracts.topics import OUTCOMES, SENSOR_WINDOWS
from millrace.infra.kafka.clients import admin
from millrace.infra.kafka.retry import Stopped
from millrace.infra.process.partition_watch import PartitionWatch
from millrace.infra.process.servers import await_partitions
from millrace.infra.settings import Settings
from millrace.infra.topics.admin import create_topics
from millrace.infra.topics.partitions import GROWN_IN, Step, grow, partition_counts
from tests.integration.observing import environment
from tests.places import PROJECT

pytestmark = pytest.mark.timeout(240)


@pytest.fixture
def client(settings: Settings) -> AdminClient:
    """An administrator of a namespace that has all topics, with 4 partitions."""
    made = admin(settings)
    create_topics(made, settings)
    return made


def grow_by_hand(client: AdminClient, settings: Settings, partitions: int) -> str:
    """Give one topic more partitions, as with another tool."""
    name = settings.named(SENSOR_WINDOWS.name)
    grow(client, Step(name, 4, partitions))
    return name


def millrace(settings: Settings, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the command line."""
    return subprocess.run(
        [sys.executable, "-m", "millrace.console", *arguments],
        cwd=PROJECT,
        env={**os.environ, **environment(settings), "COLUMNS": "200", "NO_COLOR": "1"},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def test_the_command_completes_what_another_tool_began(
    client: AdminClient, settings: Settings
) -> None:
    """It shows its plan, does it, and does nothing the second time; fewer are refused."""
    name = grow_by_hand(client, settings, 6)
    planned = millrace(settings, "topics", "grow", "6", "--dry-run", "--json")
    assert planned.returncode == 0, planned.stderr
    plan = json.loads(planned.stdout)
    assert [step[0] for step in plan["topics"]] == [
        settings.named(topic.name) for topic in GROWN_IN if topic != SENSOR_WINDOWS
    ]
    assert partition_counts(client, settings)[settings.named(OUTCOMES.name)] == 4
    done = millrace(settings, "topics", "grow", "6")
    assert done.returncode == 0, done.stderr
    assert "start anew" in done.stdout
    assert set(partition_counts(client, settings).values()) == {6}
    again = millrace(settings, "topics", "grow", "6")
    assert "all topics keyed by asset have 6 partitions" in again.stdout
    fewer = millrace(settings, "topics", "grow", "5")
    assert fewer.returncode != 0
    assert f"{name} has 6" in fewer.stderr
    assert "Traceback" not in fewer.stderr


def test_uneven_topics_are_told_with_the_command_that_mends_it(
    client: AdminClient, settings: Settings
) -> None:
    """Where topics are created, where a service starts, and in the status."""
    name = grow_by_hand(client, settings, 6)
    with pytest.raises(ServerError, match="millrace topics grow 6"):
        create_topics(client, settings)
    stop = threading.Event()
    threading.Timer(1.0, stop.set).start()
    with pytest.raises(Stopped):
        await_partitions(settings, stop)
    said = millrace(settings, "status")
    assert f"{name} has 6: run `millrace topics grow 6`" in said.stderr + said.stdout


def test_a_process_that_began_with_fewer_partitions_is_ended(
    client: AdminClient, settings: Settings
) -> None:
    """It says which topic has grown; nothing happens before."""
    ended = threading.Event()
    why: list[str] = []

    def end(what: str) -> None:
        why.append(what)
        ended.set()

    PartitionWatch(settings, "millrace.some", 4, every_seconds=0.1, end=end).start()
    assert not ended.wait(1.0)
    name = grow_by_hand(client, settings, 5)
    assert ended.wait(60)
    assert why == [
        f"{name} has 5 partitions, and had 4 when this process began: it has to start anew"
    ]


def test_a_topic_that_is_created_anew_has_the_partitions_of_the_others(
    client: AdminClient, settings: Settings
) -> None:
    """The setting still says 4."""
    for topic in GROWN_IN:
        grow(client, Step(settings.named(topic.name), 4, 6))
    name = settings.named(OUTCOMES.name)
    client.delete_topics([name])[name].result(30)
    another = admin(settings)  # one client must not see two topics of a name
    assert create_topics(another, settings) == [name]
    assert partition_counts(another, settings)[name] == 6
