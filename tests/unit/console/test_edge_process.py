"""The edge as a process of the demonstration: held, released, ended."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from millrace.console.demo.edge_process import EdgeProcess
from millrace.infra.local.waiting import wait_until


@pytest.fixture
def edge(tmp_path: Path) -> Iterator[EdgeProcess]:
    """An edge that looks for a broker which is not there."""
    environment = {**os.environ, "MILLRACE_KAFKA_BOOTSTRAP_SERVERS": "127.0.0.1:9"}
    process = EdgeProcess(["simulate", "--no-spool"], environment, tmp_path, "edge")
    yield process
    process.stop()


def stopped(edge: EdgeProcess) -> bool:
    """Whether the system gives it no time."""
    pid = edge.pid
    assert pid is not None
    return psutil.Process(pid).status() == psutil.STATUS_STOPPED


def test_it_stands_still_while_it_is_held(edge: EdgeProcess) -> None:
    """It goes on when it is let go, and the time in between is counted once."""
    assert edge.held_seconds == 0
    edge.hold(True)
    edge.hold(True)
    wait_until(lambda: stopped(edge), "the edge to stand still", seconds=10)
    edge.hold(False)
    held = edge.held_seconds
    wait_until(lambda: not stopped(edge), "the edge to go on", seconds=10)
    assert edge.held_seconds == held > 0


def test_it_can_be_ended_while_it_is_held(edge: EdgeProcess) -> None:
    """A signal to end does not wait until it is let go."""
    edge.hold(True)
    edge.stop()
    assert edge.pid is None
