"""A process manager that is slow, or not there, on a busy machine."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from millrace.contracts.errors import ServerError
from millrace.infra.local.health import free_ports
from millrace.infra.local.home import Home
from millrace.infra.local.supervisor import Supervisor


def late(monkeypatch: pytest.MonkeyPatch, times: int) -> list[str]:
    """Let supervisord's first answers come too late; the questions that it is asked."""
    asked: list[str] = []

    def call(_: Supervisor, method: str, *__: object) -> list[dict[str, object]]:
        asked.append(method)
        if len(asked) <= times:
            raise ServerError("supervisord does not answer") from TimeoutError()
        return []

    monkeypatch.setattr(Supervisor, "_call", call)
    return asked


def test_one_late_answer_does_not_end_the_system(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The question is asked again."""
    asked = late(monkeypatch, times=2)
    Supervisor(Home(tmp_path)).check()
    assert asked == ["getAllProcessInfo"] * 3


def test_patience_ends(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Somebody who never answers is not asked for ever."""
    monkeypatch.setattr("millrace.infra.local.supervisor._PATIENCE_SECONDS", 0.0)
    late(monkeypatch, times=1_000_000)
    with pytest.raises(ServerError, match="does not answer"):
        Supervisor(Home(tmp_path)).check()


def test_a_process_manager_that_is_gone_is_told_at_once(tmp_path: Path) -> None:
    """There is nothing to wait for."""
    with pytest.raises(ServerError, match="does not answer"):
        Supervisor(Home(tmp_path)).states()


def test_telemetry_ports_are_free_different_and_not_for_outgoing_connections() -> None:
    """A connection that is made while a service restarts cannot take its port."""
    ports = free_ports(4)
    assert len(set(ports)) == 4
    assert all(20_000 <= port < 30_000 for port in ports)
    for port in ports:
        with socket.socket() as listener:
            listener.bind(("127.0.0.1", port))


def test_a_taken_port_is_not_given_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """If too few are left, that is said."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        taken = listener.getsockname()[1]
        monkeypatch.setattr("millrace.infra.local.health._PORTS", range(taken, taken + 1))
        with pytest.raises(ServerError, match="fewer than 1"):
            free_ports(1)
