"""Which replicas are live, asked of a broker that dies while it is asked, and returns."""

import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

import pytest

from millrace.contracts.topics import NORMALIZED
from millrace.contracts.wire.groups import INFERENCE
from millrace.infra.kafka.clients import admin, consumer
from millrace.infra.local.waiting import wait_until
from millrace.infra.settings import Settings
from millrace.infra.topics.admin import create_topics
from tests.integration.observing import environment
from tests.integration.own_broker import Broker
from tests.places import PROJECT

pytestmark = pytest.mark.timeout(180)
PATIENCE = 60.0
#: Asks all the time, and says what it is told whenever that has changed.
ASKING = """
from millrace.infra.settings import Settings
from millrace.trainer.release.replicas import LiveReplicas
ask = LiveReplicas(Settings.read())
last = ""
while True:
    told = ask()
    said = "nobody tells" if told is None else f"live: {sorted(told)}"
    if said != last:
        print(said, flush=True)
    last = said
"""


@contextmanager
def replica(settings: Settings) -> Iterator[None]:
    """A member of the group, as long as the block runs."""
    client = consumer(settings, INFERENCE, {"client.id": "inference-7"})
    client.subscribe([settings.named(NORMALIZED.name)])
    stop = threading.Event()

    def live() -> None:
        while not stop.is_set():
            client.poll(0.1)

    thread = threading.Thread(target=live)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()
        client.close()


@contextmanager
def asking_process(settings: Settings, output: IO[str]) -> Iterator[subprocess.Popen[bytes]]:
    """Whoever asks, in a process of its own, which may die of it."""
    command = [sys.executable, "-c", ASKING]
    names = {**os.environ, **environment(settings)}
    with subprocess.Popen(command, cwd=PROJECT, env=names, stdout=output) as process:
        try:
            yield process
        finally:
            process.kill()


def test_who_asks_survives_a_broker_that_dies(
    tmp_path: Path, namespace: str, request: pytest.FixtureRequest
) -> None:
    """It hears that nobody tells, and of the replicas again when the broker is back."""
    broker = Broker(tmp_path / "broker")
    request.addfinalizer(broker.kill)
    broker.start()
    address = f"127.0.0.1:{broker.port}"
    settings = Settings.read(namespace=namespace, kafka_bootstrap_servers=address)
    create_topics(admin(settings), settings, [NORMALIZED])
    said, told = tmp_path / "said", "live: ['inference-7']\n"
    with replica(settings), said.open("w") as output, asking_process(settings, output) as asking:

        def check() -> None:
            assert asking.poll() is None, "who asked has died with the broker"

        def hears(count: int, what: str) -> None:
            wait_until(
                lambda: said.read_text().count(what) >= count,
                f"{what.strip()!r}, {count} times",
                seconds=PATIENCE,
                meanwhile=check,
            )

        for death in (1, 2):
            hears(death, told)
            broker.kill()
            hears(death, "nobody tells\n")
            broker.start()
        hears(3, told)
