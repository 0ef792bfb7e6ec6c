"""Servers that are not there are waited for, until somebody says stop."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from millrace.contracts.topics import SENSOR_WINDOWS
from millrace.infra.embedded.instance import choose_port
from millrace.infra.kafka.retry import Stopped
from millrace.infra.process.servers import await_kafka, await_store
from millrace.infra.settings import Settings


@pytest.fixture
def nowhere(tmp_path: Path) -> Settings:
    """Settings of servers that are not there."""
    return Settings.read(
        home=tmp_path,
        kafka_bootstrap_servers=f"127.0.0.1:{choose_port()}",
        s3_endpoint=f"http://127.0.0.1:{choose_port()}",
    )


@pytest.mark.timeout(60)
def test_waiting_ends_with_the_process(
    nowhere: Settings, capfd: pytest.CaptureFixture[str]
) -> None:
    """A service that is told to stop while it waits does not wait for its servers."""
    stop = threading.Event()
    stopped: list[str] = []

    def wait() -> None:
        try:
            await_kafka(nowhere, [SENSOR_WINDOWS], stop)
        except Stopped as what:
            stopped.append(str(what))
        try:
            await_store(nowhere, stop)
        except Stopped as what:
            stopped.append(str(what))

    thread = threading.Thread(target=wait)
    thread.start()
    stop.set()
    thread.join(50)
    assert stopped == [
        f"Kafka ({nowhere.kafka_bootstrap_servers})",
        f"the object store ({nowhere.s3_endpoint})",
    ]
    said = capfd.readouterr()
    assert (said.out + said.err).count("waiting for a server") == 2
