"""`system.json` tells commands where the running system is.

A console that starts a system writes it, and removes it when it ends. The object store's
keys stay in their own file; the address only says where that is. The environment wins over
the address, setting by setting, so any other system can be looked at as well.
"""

from __future__ import annotations

import json
import os
import socket
from pathlib import Path
from typing import Final

import msgspec

from console.home import Home, write_private
from contracts.errors import ServerError
from infra.settings import Settings

_KNOCK_SECONDS: Final = 2.0
_HINT: Final = (
    "start one with `millrace up` (or `make up`), or name servers with"
    " MILLRACE_KAFKA_BOOTSTRAP_SERVERS"
)


class Address(msgspec.Struct, frozen=True):
    """Where a system is.

    Attributes:
        console_pid: Process of the console that runs it.
        namespace: Prefix of its topics.
        kafka_bootstrap_servers: Its brokers.
        s3_endpoint: Its object store.
        s3_credentials: File with the keys of the embedded object store; None if the keys
            are settings.
        supervisor: Control socket of its process manager.
        telemetry: Port of each service's health and metrics.
    """

    console_pid: int
    namespace: str
    kafka_bootstrap_servers: str
    s3_endpoint: str
    s3_credentials: str | None
    supervisor: str
    telemetry: dict[str, int] = {}

    def write(self, home: Home) -> None:
        """Publish it to this machine's commands; readable by its owner only."""
        write_private(home.address, msgspec.json.encode(self))


def read_address(home: Home) -> Address | None:
    """Read the address; None if there is none that makes sense."""
    try:
        return msgspec.json.decode(home.address.read_bytes(), type=Address)
    except (OSError, msgspec.DecodeError):
        return None


def settings_of_running_system(*, must_answer: bool = True) -> Settings:
    """Settings by which a command reaches the running system.

    Args:
        must_answer: Whether the broker has to answer now.

    Raises:
        ServerError: Nothing runs, or the broker does not answer.
        SettingsError: A setting in the environment is not usable.
    """
    settings = Settings.read()
    if "MILLRACE_KAFKA_BOOTSTRAP_SERVERS" not in os.environ:
        home = Home.of(settings)
        address = read_address(home)
        if address is None:
            raise ServerError(f"no system is running here (there is no {home.address}); {_HINT}")
        settings = Settings.read(**_from_address(address))
    if must_answer:
        _knock(settings)
    return settings


def enter_running_system(*, must_answer: bool = True) -> None:
    """Put the running system's settings into this process's environment.

    Args:
        must_answer: Whether the broker has to answer now.

    Raises:
        ServerError: Nothing runs, or the broker does not answer.
        SettingsError: A setting in the environment is not usable.
    """
    settings = settings_of_running_system(must_answer=must_answer)
    os.environ |= {
        "MILLRACE_NAMESPACE": settings.namespace,
        "MILLRACE_KAFKA_BOOTSTRAP_SERVERS": settings.kafka_bootstrap_servers,
        "MILLRACE_S3_ENDPOINT": settings.s3_endpoint,
        "MILLRACE_S3_ACCESS_KEY": settings.s3_access_key,
        "MILLRACE_S3_SECRET_KEY": settings.s3_secret_key.get_secret_value(),
    }


def _from_address(address: Address) -> dict[str, str]:
    """The address as settings, without those that the environment sets."""
    found = {
        "namespace": address.namespace,
        "kafka_bootstrap_servers": address.kafka_bootstrap_servers,
        "s3_endpoint": address.s3_endpoint,
    }
    if address.s3_credentials is not None:
        try:
            keys = json.loads(Path(address.s3_credentials).read_text())
            found |= {"s3_access_key": keys["access_key"], "s3_secret_key": keys["secret_key"]}
        except (OSError, ValueError, KeyError):
            pass  # commands that need no object store work without; the others say so
    return {
        name: value for name, value in found.items() if f"MILLRACE_{name.upper()}" not in os.environ
    }


def _knock(settings: Settings) -> None:
    """Find out quickly, and without a client's patience, whether a broker is there."""
    servers = settings.kafka_bootstrap_servers.split(",")
    for server in servers:
        host, _, port = server.strip().rpartition(":")
        try:
            with socket.create_connection((host.strip("[]"), int(port)), _KNOCK_SECONDS):
                return
        except (OSError, ValueError):
            continue
    raise ServerError(f"no Kafka broker answers on {', '.join(servers)}; {_HINT}")
