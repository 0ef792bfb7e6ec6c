"""Asks services over their telemetry port whether they are ready."""

from __future__ import annotations

import http.client
import json
import socket
from dataclasses import dataclass
from typing import Final

_ANSWER_SECONDS: Final = 1.0
_HOST: Final = "127.0.0.1"


@dataclass(frozen=True)
class Readiness:
    """What a service says about itself.

    Attributes:
        ready: Whether it does its work.
        detail: What it waits for or what is wrong, in words; empty when ready.
    """

    ready: bool
    detail: str = ""


def readiness(port: int) -> Readiness:
    """Ask a service's /readyz and /healthz."""
    connection = http.client.HTTPConnection(_HOST, port, timeout=_ANSWER_SECONDS)
    try:
        connection.request("GET", "/healthz")
        answer = connection.getresponse()
        health = json.loads(answer.read())
        if answer.status != http.HTTPStatus.OK:
            return Readiness(False, str(health.get("status", "not healthy")))
        connection.request("GET", "/readyz")
        answer = connection.getresponse()
        ready = json.loads(answer.read())
        if answer.status != http.HTTPStatus.OK:
            return Readiness(False, "waiting for " + ", ".join(ready.get("waiting_for", [])))
        return Readiness(True)
    except (OSError, http.client.HTTPException, ValueError):
        return Readiness(False, "starting")
    finally:
        connection.close()


def free_ports(count: int) -> list[int]:
    """Find different free loopback ports."""
    listeners = [socket.socket() for _ in range(count)]
    try:
        for listener in listeners:
            listener.bind((_HOST, 0))
        return [int(listener.getsockname()[1]) for listener in listeners]
    finally:
        for listener in listeners:
            listener.close()
