"""`system.json`: the file in which commands find the running system.

A console that starts a system writes it, and removes it when it ends. It holds no secret: the
embedded object store's keys stay in their own file, of which the address holds only the path;
passwords and keys of other servers have to be set in each terminal, and an error names a missing
one. The environment takes precedence over the address, setting by setting, so commands can
also reach any other system.
"""

from __future__ import annotations

import json
import os
import socket
from pathlib import Path
from typing import Final

import msgspec

from millrace.contracts.errors import ServerError, SettingsError
from millrace.infra.files import replace_file
from millrace.infra.kafka.handshake import shake_hands
from millrace.infra.local.home import Home
from millrace.infra.settings import Settings

_KNOCK_SECONDS: Final = 2.0
_HINT: Final = (
    "start one with `millrace up` (or `make up`), or name servers with"
    " MILLRACE_KAFKA_BOOTSTRAP_SERVERS"
)
#: Settings that an address holds, by their names in `Settings`; none of them is secret.
_SHARED: Final = (
    "namespace",
    "kafka_bootstrap_servers",
    "kafka_security_protocol",
    "kafka_sasl_mechanism",
    "kafka_sasl_username",
    "kafka_ssl_ca",
    "kafka_ssl_certificate",
    "kafka_ssl_key",
    "s3_endpoint",
    "s3_region",
    "s3_bucket",
)


class Address(msgspec.Struct, frozen=True):
    """Addresses of a system.

    Attributes:
        console_pid: Process of the console that runs it.
        namespace: Prefix of its topics.
        kafka_bootstrap_servers: Its brokers.
        s3_endpoint: Its object store.
        s3_credentials: File with the keys of the embedded object store; None if the keys
            are settings.
        supervisor: Control socket of its process manager.
        telemetry: Port of each service's health and metrics.
        kafka_security_protocol: Security protocol of the brokers.
        kafka_sasl_mechanism: SASL mechanism, with a SASL protocol.
        kafka_sasl_username: SASL user.
        kafka_ssl_ca: File with the CA certificate for the brokers' certificates.
        kafka_ssl_certificate: File with the client's certificate.
        kafka_ssl_key: File with its key, which its owner can read.
        s3_region: Region of the object store.
        s3_bucket: Its bucket, before the namespace.
    """

    console_pid: int
    namespace: str
    kafka_bootstrap_servers: str
    s3_endpoint: str
    s3_credentials: str | None
    supervisor: str
    telemetry: dict[str, int] = {}
    kafka_security_protocol: str = "PLAINTEXT"
    kafka_sasl_mechanism: str = "SCRAM-SHA-512"
    kafka_sasl_username: str = ""
    kafka_ssl_ca: str | None = None
    kafka_ssl_certificate: str | None = None
    kafka_ssl_key: str | None = None
    s3_region: str = "us-east-1"
    s3_bucket: str = "millrace"

    def write(self, home: Home) -> None:
        """Publish it to this machine's commands; readable by its owner only."""
        replace_file(home.address, msgspec.json.encode(self))


def read_address(home: Home) -> Address | None:
    """Read the address; None if it is missing or damaged."""
    try:
        return msgspec.json.decode(home.address.read_bytes(), type=Address)
    except (OSError, msgspec.DecodeError):
        return None


def settings_of_running_system(*, must_answer: bool = True) -> Settings:
    """Settings with which a command reaches the running system.

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
    _check_secrets(settings)
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
        **{
            f"MILLRACE_{name.upper()}": str(value)
            for name in _SHARED
            if (value := getattr(settings, name)) is not None
        },
        "MILLRACE_S3_ACCESS_KEY": settings.s3_access_key,
        "MILLRACE_S3_SECRET_KEY": settings.s3_secret_key.get_secret_value(),
    }


def shared_settings(settings: Settings) -> dict[str, str]:
    """The settings of an address that describe the servers: those that are set; none is secret."""
    values = {name: getattr(settings, name) for name in _SHARED}
    return {name: str(value) for name, value in values.items() if value is not None}


def _check_secrets(settings: Settings) -> None:
    """Check that the secrets which the settings require are set.

    Raises:
        SettingsError: One is missing; names it.
    """
    if (
        settings.kafka_security_protocol.startswith("SASL")
        and not settings.kafka_sasl_password.get_secret_value()
    ):
        raise SettingsError(
            f"Kafka at {settings.kafka_bootstrap_servers} wants the password of the user"
            f" {settings.kafka_sasl_username}, which is kept in no file: set"
            " MILLRACE_KAFKA_SASL_PASSWORD in this terminal, too"
        )


def _from_address(address: Address) -> dict[str, str]:
    """The address as settings, without those that the environment sets."""
    known = msgspec.structs.asdict(address)
    found = {name: str(known[name]) for name in _SHARED if known[name] is not None}
    if address.s3_credentials is not None:
        try:
            keys = json.loads(Path(address.s3_credentials).read_text())
            found |= {"s3_access_key": keys["access_key"], "s3_secret_key": keys["secret_key"]}
        except (OSError, ValueError, KeyError):
            pass  # commands that need no object store work without; the others report it
    return {
        name: value for name, value in found.items() if f"MILLRACE_{name.upper()}" not in os.environ
    }


def _knock(settings: Settings) -> None:
    """Check quickly, without a client's long timeouts, whether a broker accepts us.

    Raises:
        ServerError: None does; names the reason, and the setting to change.
    """
    servers = settings.kafka_bootstrap_servers.split(",")
    for server in servers:
        host, _, port = server.strip().rpartition(":")
        try:
            with socket.create_connection((host.strip("[]"), int(port)), _KNOCK_SECONDS):
                break
        except (OSError, ValueError):
            continue
    else:
        raise ServerError(f"no Kafka broker answers on {', '.join(servers)}; {_HINT}")
    shake_hands(settings)
