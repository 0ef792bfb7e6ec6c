"""Programs of the harness stay up until they are told to stop."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from millrace.infra.local.health import free_ports
from millrace.infra.local.waiting import wait_until
from tests.faults.harness.programs import Program

_PATIENCE = 30.0


@pytest.fixture
def program(tmp_path: Path) -> Iterator[Program]:
    """A service that does nothing but say that it is ready."""
    (port,) = free_ports(1)
    told = {**os.environ, "MILLRACE_TELEMETRY_PORT": str(port)}
    made = Program(
        "fake", "tests.integration.fake_service", told, tmp_path / "fake.log", telemetry_port=port
    )
    yield made
    made.stop()


def test_a_killed_program_comes_back_and_a_stopped_one_does_not(program: Program) -> None:
    """SIGKILL is followed by another life; SIGTERM by none, until it is started again."""
    program.start()
    program.wait_ready(_PATIENCE)
    first = program.pid
    program.kill()
    wait_until(lambda: program.pid not in {None, first}, "another life", seconds=_PATIENCE)
    program.wait_ready(_PATIENCE)
    assert program.lives[0].status == -signal.SIGKILL
    assert program.stop() is not None
    assert program.pid is None
    assert program.deaths == len(program.lives) == 2
    program.start()
    program.wait_ready(_PATIENCE)
    assert program.deaths == 2


def test_a_frozen_program_is_seen_and_thawed(program: Program) -> None:
    """SIGSTOP leaves it alive and silent; SIGCONT lets it go on, in the same life."""
    program.start()
    program.wait_ready(_PATIENCE)
    program.pause()
    wait_until(program.is_frozen, "it to freeze", seconds=_PATIENCE)
    program.resume()
    wait_until(lambda: not program.is_frozen(), "it to thaw", seconds=_PATIENCE)
    program.wait_ready(_PATIENCE)
    assert program.deaths == 0


def test_a_program_that_is_done_is_not_started_again(tmp_path: Path) -> None:
    """One that ends by itself, as an edge does, ends for good when it ends well."""
    done = Program("done", "tests.places", {**os.environ}, tmp_path / "done.log", ends=True)
    done.start()
    wait_until(lambda: done.finished, "it to finish", seconds=_PATIENCE)
    assert [life.status for life in done.lives] == [0]
