"""Locks, state files and ports of the embedded servers."""

import os
import socket
from pathlib import Path

import pytest

from millrace.infra.embedded import instance
from millrace.infra.embedded.instance import State


def test_only_one_holds_a_folder(tmp_path: Path) -> None:
    """A folder's lock is free, then held by one, then free again once it is closed."""
    assert not instance.is_locked(tmp_path)
    held = instance.take_lock(tmp_path)
    assert held is not None
    assert instance.is_locked(tmp_path)
    assert instance.take_lock(tmp_path) is None
    os.close(held)
    assert not instance.is_locked(tmp_path)


@pytest.mark.parametrize("content", [None, "", "{", "[]", '{"pid": 1}', '{"pid": 1, "port": "x"}'])
def test_senseless_state_is_no_state(tmp_path: Path, content: str | None) -> None:
    """A missing or torn state file says nothing, instead of breaking its reader."""
    path = tmp_path / "kafka.json"
    if content is not None:
        path.write_text(content)
    assert State.read(path) is None


def test_state_comes_back(tmp_path: Path) -> None:
    """What is written is read again."""
    path = tmp_path / "s3.json"
    State(pid=7, port=9000).write(path)
    assert State.read(path) == State(pid=7, port=9000)
    assert list(tmp_path.iterdir()) == [path]


def test_taken_port_is_passed_over() -> None:
    """A port that something listens on is never chosen; a free preferred one is."""
    with socket.create_server((instance.LOOPBACK, 0)) as listener:
        taken = listener.getsockname()[1]
        assert instance.choose_port(taken) != taken
    assert instance.choose_port(taken) == taken


def test_a_servers_port_is_none_of_outgoing_connections() -> None:
    """While it is away, none of its clients' own connections may take it."""
    assert all(20_000 <= instance.choose_port() < 30_000 for _ in range(20))
