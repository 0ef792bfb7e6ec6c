"""Queries services over their telemetry port for their readiness."""

from __future__ import annotations

import http.client
import json
import random
import socket
from dataclasses import dataclass
from typing import Final

from millrace.contracts.errors import ServerError

_ANSWER_SECONDS: Final = 1.0
LOOPBACK: Final = "127.0.0.1"
_PORTS: Final = range(20_000, 30_000)


@dataclass(frozen=True)
class Readiness:
    """Readiness that a service reports.

    Attributes:
        ready: Whether it does its work.
        detail: The missing condition or the failure, in words; empty when ready.
    """

    ready: bool
    detail: str = ""


def readiness(port: int) -> Readiness:
    """Query a service's /readyz and /healthz."""
    connection = http.client.HTTPConnection(LOOPBACK, port, timeout=_ANSWER_SECONDS)
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
    """Find different free loopback ports.

    They are below the kernel's ephemeral ports, so that no outgoing connection takes one of them
    before its service listens, or while the service is restarted.

    Raises:
        ServerError: Too few are free.
    """
    found: list[int] = []
    for port in random.sample(_PORTS, len(_PORTS)):
        if len(found) == count:
            break
        with socket.socket() as listener:
            try:
                listener.bind((LOOPBACK, port))
            except OSError:
                continue  # taken
        found.append(port)
    if len(found) < count:
        raise ServerError(f"fewer than {count} ports of {_PORTS} are free on {LOOPBACK}")
    return found
